// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Functions outside the entry program, to save stack and verifier time. The file is long because each function appears
//! three times: as a trait method, as a wrapper and as an exported symbol.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    programs::XdpContext,
};
use lb_common::{
    packet::{self, ICMP_LEN, IcmpError, Ip as _, Parsed, Part},
    reason::Reason,
    schema::{AddressUse, Dip, Flow, FlowKey, Program, Real, Service},
    wire::{Be16, Be32, Be128},
};

use crate::{
    dispatch::let_through,
    forward::{
        fnat,
        nat::{Change, End},
        tun,
    },
    fragment,
    frame::Frame,
    icmp::{self, quote},
    reply, reset,
    select::{self, Picked, Slot},
    source,
    tables::{self, IpFamily},
    verdict::{Verdict, into_action},
};

/// Functions that the entry program calls out of line, because its stack has 512 bytes.
///
/// Global functions share the stack of their program, and the verifier checks each of them once, by the types of its
/// arguments, not once for each path to it. Tail-called programs have a stack of their own, but parse the packet again.
pub trait Subprograms: IpFamily {
    /// Continues in the program that runs [`dispatch_rare`] or [`fragment::later`].
    fn rare(frame: &Frame, part: Part) -> u32;

    /// Runs [`reply::handle`]. `used` has the uses of the packet's destination.
    fn reply(frame: &Frame, parsed: &Parsed<Self>, used: AddressUse) -> u32;

    /// Calls [`tables::leave_to_stack`].
    fn leave_to_stack(flow: &FlowKey<Self>);

    /// Calls [`source::check`] if the source address may be forbidden.
    fn check_source(frame: &Frame, parsed: &Parsed<Self>) -> Result<(), Reason>;

    /// Calls [`select::pick`].
    fn pick(parsed: &Parsed<Self>, service: &Service, slot: Slot) -> Result<Picked, Reason>;

    /// Calls [`select::begin`].
    fn begin(frame: &Frame, parsed: &Parsed<Self>, known: &Flow, picked: Picked, dip: Dip);

    /// Calls [`select::renew`], and ignores its error.
    fn renew(frame: &Frame, parsed: &Parsed<Self>, service: &Service, flow: &Flow);

    /// Calls [`select::learn_way_back`] for the real with this id.
    fn learn_way_back(frame: &Frame, parsed: &Parsed<Self>, id: u32);

    /// Calls [`select::remember_reply`] for the real with this id.
    fn remember_reply(parsed: &Parsed<Self>, id: u32);

    /// Calls [`select::remember_client`].
    fn remember_client(parsed: &Parsed<Self>, service: &Service, id: u32);

    /// Calls [`select::lease`].
    fn lease(request: &FlowKey<Self>, id: u32, old: Dip, old_real: u32) -> Dip;

    /// Calls [`fragment::remember_request`].
    fn remember_fragment(parsed: &Parsed<Self>, real: u32, dip: Dip);

    /// Calls [`tun::within`] with an outer IPv6 header, for the real with this id.
    fn within_ipv6(frame: &Frame, parsed: &Parsed<Self>, id: u32, real: &Real) -> Result<(), Reason>;

    /// Calls [`quote::translate`].
    fn quoted_end(
        frame: &Frame,
        outer: &Parsed<Self>,
        quote: &IcmpError<Self>,
        change: &Change<Self>,
    ) -> Result<(), Reason>;

    /// Calls [`fnat::other_end`].
    fn other_end(frame: &Frame, parsed: &Parsed<Self>, change: Change<Self>) -> Result<(), Reason>;

    /// Answers a packet that is not forwarded.
    fn answer(frame: &Frame, parsed: &Parsed<Self>, verdict: Verdict) -> u32;
}

/// Implements [`Subprograms`] for one IP version: takes the names of the functions in the object, and the methods that
/// differ between the versions.
macro_rules! subprograms {
    (
        $address:ty:
        $leave_to_stack:ident $check_source:ident
        $pick:ident $begin:ident $renew:ident $learn_way_back:ident $remember_reply:ident $remember_client:ident
        $lease:ident $remember_fragment:ident $quoted_end:ident
        $other_end:ident $answer:ident;
        $($own:tt)*
    ) => {
        impl Subprograms for $address {
            $($own)*

            #[inline(always)]
            fn leave_to_stack(flow: &FlowKey<Self>) {
                $leave_to_stack(flow);
            }

            #[inline(always)]
            fn check_source(frame: &Frame, parsed: &Parsed<Self>) -> Result<(), Reason> {
                if !tables::may_be_forged(parsed.flow.source) {
                    return Ok(());
                }
                match $check_source(frame.ctx().ctx, parsed) {
                    POSSIBLE => Ok(()),
                    reason => Err(Reason::from_number(reason).unwrap_or(Reason::SourceInvalid)),
                }
            }

            #[inline(always)]
            fn pick(parsed: &Parsed<Self>, service: &Service, slot: Slot) -> Result<Picked, Reason> {
                Picked::unpacked($pick(parsed, service, slot.packed()))
            }

            #[inline(always)]
            fn begin(frame: &Frame, parsed: &Parsed<Self>, known: &Flow, picked: Picked, dip: Dip) {
                $begin(frame.ctx().ctx, parsed, known, Picked::packed(Ok(picked)), dip.packed());
            }

            #[inline(always)]
            fn renew(frame: &Frame, parsed: &Parsed<Self>, service: &Service, flow: &Flow) {
                $renew(frame.ctx().ctx, parsed, service, flow);
            }

            #[inline(always)]
            fn learn_way_back(frame: &Frame, parsed: &Parsed<Self>, id: u32) {
                $learn_way_back(frame.ctx().ctx, parsed, id);
            }

            #[inline(always)]
            fn remember_reply(parsed: &Parsed<Self>, id: u32) {
                $remember_reply(parsed, id);
            }

            #[inline(always)]
            fn remember_client(parsed: &Parsed<Self>, service: &Service, id: u32) {
                $remember_client(parsed, service, id);
            }

            #[inline(always)]
            fn lease(request: &FlowKey<Self>, id: u32, old: Dip, old_real: u32) -> Dip {
                Dip::unpacked($lease(request, id, old.packed(), old_real))
            }

            #[inline(always)]
            fn remember_fragment(parsed: &Parsed<Self>, real: u32, dip: Dip) {
                $remember_fragment(parsed, real, dip.packed());
            }

            #[inline(always)]
            fn quoted_end(
                frame: &Frame,
                outer: &Parsed<Self>,
                quote: &IcmpError<Self>,
                change: &Change<Self>,
            ) -> Result<(), Reason> {
                done($quoted_end(frame.ctx().ctx, outer, quote, change))
            }

            #[inline(always)]
            fn other_end(frame: &Frame, parsed: &Parsed<Self>, change: Change<Self>) -> Result<(), Reason> {
                let Change { end, address, port } = change;
                done($other_end(frame.ctx().ctx, parsed, end as u32, &raw const address, port.0.into()))
            }

            #[inline(always)]
            fn answer(frame: &Frame, parsed: &Parsed<Self>, verdict: Verdict) -> u32 {
                $answer(frame.ctx().ctx, parsed, verdict.reason.index(), verdict.mtu.into(), verdict.service)
            }
        }

        // SAFETY, here and below: the verifier accepts only null or memory of the types' sizes as arguments of these
        // functions.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $leave_to_stack(flow: *const FlowKey<$address>) -> u32 {
            // SAFETY: see above.
            let Some(flow) = (unsafe { flow.as_ref() }) else { return 0 };
            tables::leave_to_stack(flow);
            1
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $check_source(ctx: *mut xdp_md, parsed: *const Parsed<$address>) -> u32 {
            // SAFETY: see above.
            let Some(parsed) = (unsafe { parsed.as_ref() }) else { return POSSIBLE };
            let ctx = XdpContext::new(ctx);
            source::check(&Frame::new(&ctx), parsed).map_or_else(Reason::index, |()| POSSIBLE)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $pick(parsed: *const Parsed<$address>, service: *const Service, slot: u64) -> u64 {
            // SAFETY: see above.
            let (Some(parsed), Some(service)) = (unsafe { (parsed.as_ref(), service.as_ref()) }) else { return 0 };
            Picked::packed(select::pick(parsed, service, Slot::unpacked(slot)))
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $begin(
            ctx: *mut xdp_md,
            parsed: *const Parsed<$address>,
            known: *const Flow,
            picked: u64,
            dip: u32,
        ) -> u32 {
            // SAFETY: see above.
            let (parsed, known) = unsafe { (parsed.as_ref(), known.as_ref()) };
            let (Some(parsed), Some(known), Ok(picked)) = (parsed, known, Picked::unpacked(picked)) else {
                return 0;
            };
            let ctx = XdpContext::new(ctx);
            select::begin(&Frame::new(&ctx), parsed, known, picked, Dip::unpacked(dip)).is_ok().into()
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $renew(
            ctx: *mut xdp_md,
            parsed: *const Parsed<$address>,
            service: *const Service,
            flow: *const Flow,
        ) -> u32 {
            // SAFETY: see above.
            let (parsed, service, flow) = unsafe { (parsed.as_ref(), service.as_ref(), flow.as_ref()) };
            let (Some(parsed), Some(service), Some(flow)) = (parsed, service, flow) else { return 0 };
            let ctx = XdpContext::new(ctx);
            select::renew(&Frame::new(&ctx), parsed, service, flow).is_ok().into()
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $learn_way_back(ctx: *mut xdp_md, parsed: *const Parsed<$address>, id: u32) -> u32 {
            // SAFETY: see above.
            let (Some(parsed), Some(real)) = (unsafe { parsed.as_ref() }, tables::real(id)) else { return 0 };
            let ctx = XdpContext::new(ctx);
            select::learn_way_back(&Frame::new(&ctx), parsed, real).is_ok().into()
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $remember_reply(parsed: *const Parsed<$address>, id: u32) -> u32 {
            // SAFETY: see above.
            let (Some(parsed), Some(real)) = (unsafe { parsed.as_ref() }, tables::real(id)) else { return 0 };
            select::remember_reply(&parsed.flow, real);
            1
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $remember_client(
            parsed: *const Parsed<$address>,
            service: *const Service,
            id: u32,
        ) -> u32 {
            // SAFETY: see above.
            let (Some(parsed), Some(service)) = (unsafe { (parsed.as_ref(), service.as_ref()) }) else { return 0 };
            select::remember_client(service, &parsed.flow, id);
            1
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $lease(request: *const FlowKey<$address>, id: u32, old: u32, old_real: u32) -> u32 {
            // SAFETY: see above.
            let Some(request) = (unsafe { request.as_ref() }) else { return Dip::NONE.packed() };
            select::lease(request, id, Dip::unpacked(old), old_real).packed()
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $remember_fragment(parsed: *const Parsed<$address>, real: u32, dip: u32) -> u32 {
            // SAFETY: see above.
            let Some(parsed) = (unsafe { parsed.as_ref() }) else { return 0 };
            fragment::remember_request(parsed, real, Dip::unpacked(dip));
            1
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $quoted_end(
            ctx: *mut xdp_md,
            outer: *const Parsed<$address>,
            quote: *const IcmpError<$address>,
            change: *const Change<$address>,
        ) -> u32 {
            // SAFETY: see above.
            let (outer, quote, change) = unsafe { (outer.as_ref(), quote.as_ref(), change.as_ref()) };
            let (Some(outer), Some(quote), Some(change)) = (outer, quote, change) else { return 0 };
            let ctx = XdpContext::new(ctx);
            quote::translate(&Frame::new(&ctx), outer, quote, change).is_ok().into()
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $other_end(
            ctx: *mut xdp_md,
            parsed: *const Parsed<$address>,
            end: u32,
            address: *const $address,
            port: u32,
        ) -> u32 {
            // SAFETY: see above.
            let (parsed, address) = unsafe { (parsed.as_ref(), address.as_ref()) };
            let (Some(parsed), Some(address)) = (parsed, address) else { return 0 };
            let end = if end == End::Source as u32 { End::Source } else { End::Destination };
            let change = Change { end, address: *address, port: Be16(port as u16) };
            let ctx = XdpContext::new(ctx);
            fnat::other_end(&Frame::new(&ctx), parsed, change).is_ok().into()
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $answer(
            ctx: *mut xdp_md,
            parsed: *const Parsed<$address>,
            reason: u32,
            mtu: u32,
            service: u32,
        ) -> u32 {
            // SAFETY: see above.
            let Some(parsed) = (unsafe { parsed.as_ref() }) else { return xdp_action::XDP_DROP };
            let ctx = XdpContext::new(ctx);
            let frame = Frame::new(&ctx);
            answer_as::<$address, { <$address>::HEADER_LEN + ICMP_LEN }>(&frame, parsed, reason, mtu, service)
        }
    };
}

subprograms! { Be32:
    leave_to_stack check_source
    pick begin renew learn_way_back remember_reply remember_client lease remember_fragment quoted_end other_end answer;

    #[inline(always)]
    fn within_ipv6(frame: &Frame, parsed: &Parsed<Self>, id: u32, _: &Real) -> Result<(), Reason> {
        match within_ipv6(frame.ctx().ctx, parsed, id) {
            WITHIN => Ok(()),
            reason => Err(Reason::from_number(reason).unwrap_or(Reason::NoReal)),
        }
    }

    #[inline(always)]
    fn rare(frame: &Frame, _: Part) -> u32 {
        tables::tail_call(frame.ctx(), Program::Other);
        xdp_action::XDP_PASS
    }

    #[inline(always)]
    fn reply(frame: &Frame, parsed: &Parsed<Self>, used: AddressUse) -> u32 {
        // The function has no stack left to record the path of the later fragments.
        if parsed.part == Part::First {
            return Self::rare(frame, Part::First);
        }
        reply(frame.ctx().ctx, parsed, used.0)
    }
}

subprograms! { Be128:
    leave_to_stack6 check_source6
    pick6 begin6 renew6 learn_way_back6 remember_reply6 remember_client6 lease6 remember_fragment6 quoted_end6 other_end6 answer6;

    #[inline(always)]
    fn within_ipv6(frame: &Frame, parsed: &Parsed<Self>, _: u32, real: &Real) -> Result<(), Reason> {
        tun::within::<Self, Self>(frame, parsed, real)
    }

    #[inline(always)]
    fn rare(frame: &Frame, part: Part) -> u32 {
        tables::tail_call(
            frame.ctx(),
            if part == Part::Later { Program::Ipv6Fragment } else { Program::Ipv6Other },
        );
        xdp_action::XDP_PASS
    }

    #[inline(always)]
    fn reply(frame: &Frame, _: &Parsed<Self>, _: AddressUse) -> u32 {
        tables::tail_call(frame.ctx(), Program::Ipv6Reply);
        xdp_action::XDP_PASS
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn within_ipv6(ctx: *mut xdp_md, parsed: *const Parsed<Be32>, id: u32) -> u32 {
    // SAFETY: as for the functions of both versions.
    let (Some(parsed), Some(real)) = (unsafe { parsed.as_ref() }, tables::real(id)) else {
        return Reason::NoReal.index();
    };
    let ctx = XdpContext::new(ctx);
    tun::within::<Be32, Be128>(&Frame::new(&ctx), parsed, real).map_or_else(Reason::index, |()| WITHIN)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn reply(ctx: *mut xdp_md, parsed: *const Parsed<Be32>, used: u32) -> u32 {
    let ctx = XdpContext::new(ctx);
    let frame = Frame::new(&ctx);
    // SAFETY: the verifier accepts only null or memory of that size as an argument.
    let Some(parsed) = (unsafe { parsed.as_ref() }) else { return xdp_action::XDP_PASS };
    // Until Linux 6.3 a map key could not be in memory that a global function was given. Hence the copy, which LLVM
    // must not remove.
    let copy = *parsed;
    let action =
        into_action(reply::handle::<_, false>(&frame, core::hint::black_box(&copy), AddressUse(used)));
    let_through(parsed, action)
}

/// Answers a packet that is not forwarded. The arguments are [`Verdict::reason`], [`Verdict::mtu`] and
/// [`Verdict::service`]; `ERROR` is the length of the headers of an ICMP error before its quote, in bytes.
#[inline(always)]
fn answer_as<A: IpFamily, const ERROR: usize>(
    frame: &Frame,
    parsed: &Parsed<A>,
    reason: u32,
    mtu: u32,
    service: u32,
) -> u32 {
    if reason == Reason::RealRemoved.index() {
        return reset::answer(frame, parsed);
    }
    let error = if reason == Reason::TooBig.index() {
        packet::Error::TooBig(mtu as u16)
    } else if reason == Reason::TtlExceeded.index() {
        packet::Error::TimeExceeded
    } else {
        packet::Error::PortUnreachable
    };
    icmp::answer::<A, ERROR>(frame, parsed, error, service)
}

/// Result of `check_source` for a source that a client may have; not the number of a reason.
const POSSIBLE: u32 = u32::MAX;

/// Result of `within_ipv6` for an encapsulated packet; not the number of a reason.
const WITHIN: u32 = u32::MAX;

/// Converts the result of a function that returns 0 if the packet is too short.
#[inline(always)]
const fn done(yes: u32) -> Result<(), Reason> {
    if yes == 0 { Err(Reason::Truncated) } else { Ok(()) }
}
