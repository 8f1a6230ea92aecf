// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! Functions out of line: [`out_of_line`] declares one beside its logic.
//!
//! Everything else is inlined into the entry program, whose stack has 512 bytes. A function out of line is a global BPF
//! function: it shares the stack of its program only while it runs, and the verifier checks it once, by the types of
//! its arguments, not once for each path to it. Tail-called programs have a stack of their own, but parse the packet
//! again.

use lb_common::{
    ids::RealId,
    packet::Chain,
    reason::Reason,
    schema::{AddressUse, SnatBinding},
    wire::{Be16, Tags},
};

/// A value that global functions get or return in a register.
pub trait Register {
    /// The number that is passed.
    type Bits: Default;

    /// Packs the value into a number.
    fn into_bits(self) -> Self::Bits;

    /// Unpacks a result of [`Self::into_bits`].
    fn from_bits(bits: Self::Bits) -> Self;
}

/// Implements [`Register`] for types by a number and two conversions.
macro_rules! register {
    ($($type:ty as $bits:ty: $into_bits:expr, $from_bits:expr;)*) => {
        $(impl $crate::out_of_line::Register for $type {
            type Bits = $bits;

            #[inline(always)]
            fn into_bits(self) -> Self::Bits {
                $into_bits(self)
            }

            #[inline(always)]
            fn from_bits(bits: Self::Bits) -> Self {
                $from_bits(bits)
            }
        })*
    };
}

/// Error of a function that can fail only because the frame ends too early. One bit in a register: LLVM would build
/// code around the number of a reason that the verifier rejects, as it copies the absent value of a `Result`.
#[derive(Clone, Copy)]
pub struct Truncated;

impl From<Reason> for Truncated {
    #[inline(always)]
    fn from(_: Reason) -> Self {
        Self
    }
}

impl From<Truncated> for Reason {
    #[inline(always)]
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// Result of a function without an error; not the number of a reason.
const SUCCESS: u32 = u32::MAX;

register! {
    u32 as u32: core::convert::identity, core::convert::identity;
    u64 as u64: core::convert::identity, core::convert::identity;
    () as u32: |()| 0, |_| ();
    bool as u32: u32::from, |bits| bits != 0;
    Be16 as u32: |port: Self| port.0.into(), |bits| Self(bits as u16);
    Tags as u32: |tags: Self| tags.0, Tags;
    SnatBinding as u32: Self::packed, Self::unpacked;
    RealId as u32: |id: Self| id.0, RealId;
    AddressUse as u32: |used: Self| used.0, AddressUse;
    Chain as u64: |chain: Self| chain.0, Chain;
    Result<(), Truncated> as u32: |result: Self| result.is_ok().into(), |bits| if bits == 0 { Err(Truncated) } else { Ok(()) };
    // Without a real, the upper half is the reason.
    Result<RealId, Reason> as u64: |result: Self| match result {
        Ok(id) => u64::from(id.0),
        Err(reason) => u64::from(reason.index()) << 32,
    }, |bits: u64| if RealId(bits as u32).is_none() {
        Err(Reason::from_number((bits >> 32) as u32).unwrap_or(Reason::NoReal))
    } else {
        Ok(RealId(bits as u32))
    };
    Result<(), Reason> as u32: |result: Self| result.map_or_else(Reason::index, |()| SUCCESS), |bits| match bits {
        SUCCESS => Ok(()),
        // Only numbers of reasons are packed.
        reason => Err(Reason::from_number(reason).unwrap_or(Reason::Truncated)),
    };
}

/// Declares a function out of line.
///
/// ```text
/// out_of_line! {
///     /// Returns …
///     fn name [symbol, symbol6](frame; parsed: &Parsed<A>, service: &Service; slot: Slot) -> Result<(), Reason> {
///         …
///     }
/// }
/// ```
///
/// The three lists of arguments are the frame, which may be absent, references, and values that are [`Register`]s. With
/// two symbols the function is generic over the address type `A`, and the object has one function for IPv4 and one for
/// IPv6. With one symbol it has no type parameter. If an argument is null, which callers cannot pass, the function
/// returns 0 without running.
macro_rules! out_of_line {
    (
        $(#[$doc:meta])*
        $visibility:vis fn $name:ident [$ipv4:ident, $ipv6:ident]
        ($($frame:ident)?; $($reference:ident: &$type:ty),*; $($value:ident: $register:ty),*) -> $result:ty
        $body:block
    ) => {
        $(#[$doc])*
        #[inline(always)]
        $visibility fn $name<A: $crate::tables::IpFamily>(
            $($frame: &$crate::frame::Frame,)?
            $($reference: &$type,)*
            $($value: $register),*
        ) -> $result {
            #[inline(always)]
            fn body<A: $crate::tables::IpFamily>(
                $($frame: &$crate::frame::Frame,)?
                $($reference: &$type,)*
                $($value: $register),*
            ) -> $result
            $body

            if A::HEADER_LEN == lb_common::packet::IPV4_LEN {
                type A = lb_common::wire::Be32;
                out_of_line! { @symbol $ipv4($($frame)?; $($reference: $type),*; $($value: $register),*) -> $result { body } }
                out_of_line! { @call $ipv4($($frame)?; $($reference),*; $($value),*) }
            } else {
                type A = lb_common::wire::Be128;
                out_of_line! { @symbol $ipv6($($frame)?; $($reference: $type),*; $($value: $register),*) -> $result { body } }
                out_of_line! { @call $ipv6($($frame)?; $($reference),*; $($value),*) }
            }
        }
    };
    (
        $(#[$doc:meta])*
        $visibility:vis fn $name:ident [$symbol:ident]
        ($($frame:ident)?; $($reference:ident: &$type:ty),*; $($value:ident: $register:ty),*) -> $result:ty
        $body:block
    ) => {
        $(#[$doc])*
        #[inline(always)]
        $visibility fn $name(
            $($frame: &$crate::frame::Frame,)?
            $($reference: &$type,)*
            $($value: $register),*
        ) -> $result {
            #[inline(always)]
            fn body(
                $($frame: &$crate::frame::Frame,)?
                $($reference: &$type,)*
                $($value: $register),*
            ) -> $result
            $body

            out_of_line! { @symbol $symbol($($frame)?; $($reference: $type),*; $($value: $register),*) -> $result { body } }
            out_of_line! { @call $symbol($($frame)?; $($reference),*; $($value),*) }
        }
    };
    (
        @symbol $symbol:ident
        ($($frame:ident)?; $($reference:ident: $type:ty),*; $($value:ident: $register:ty),*) -> $result:ty
        { $body:ident }
    ) => {
        #[expect(unsafe_code, reason = "the object has the function by its symbol, and its arguments are pointers")]
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $symbol(
            $($frame: *mut aya_ebpf::bindings::xdp_md,)?
            $($reference: *const $type,)*
            $($value: <$register as $crate::out_of_line::Register>::Bits),*
        ) -> <$result as $crate::out_of_line::Register>::Bits {
            $(
                // SAFETY: the verifier accepts only null or memory of the type's size as an argument.
                let Some($reference) = (unsafe { $reference.as_ref() }) else { return Default::default() };
            )*
            $(
                let $frame = aya_ebpf::programs::XdpContext::new($frame);
                let $frame = &$crate::frame::Frame::new(&$frame);
            )?
            $crate::out_of_line::Register::into_bits($body(
                $($frame,)?
                $($reference,)*
                $(<$register as $crate::out_of_line::Register>::from_bits($value)),*
            ))
        }
    };
    (@call $symbol:ident($($frame:ident)?; $($reference:ident),*; $($value:ident),*)) => {
        $crate::out_of_line::Register::from_bits($symbol(
            $($frame.ctx().ctx,)?
            // The address type of the function is the caller's: the cast changes no type.
            $(core::ptr::from_ref($reference).cast(),)*
            $($crate::out_of_line::Register::into_bits($value)),*
        ))
    };
}
