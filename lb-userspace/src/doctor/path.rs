// SPDX-License-Identifier: MIT OR Apache-2.0
//! Check that each VIP answers through the forwarding path.
//!
//! A probe is a client's packet that the programs have processed in a separate data plane with this real only
//! ([`Single`]); their output is sent. The client is the director itself, so the reply arrives at the
//! director, where this socket receives it and the stack drops it (its source is the director's own VIP). The
//! director's maps get no flow, and no packet is counted.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use ipnet::IpNet;

use super::{
    Facts, Subject, Way,
    answer::{Said, answer},
    bypass, came_back, frame,
    judge::{Answer, Place, Seen, judge},
    mtu, narrow, next_hop,
    sender::{Sender, Sent},
    wire::Wire,
};
use crate::{
    dataplane::{Single, SingleError},
    failure::chain,
    model::{Forward, Protocol, finding::Finding},
    netlink::Mac,
};

/// Time to wait; each real is probed twice before it counts as silent.
const PATIENCE: Duration = Duration::from_millis(250);

/// A subject, with everything that a probe needs.
pub(super) struct Probe<'a> {
    pub(super) subject: &'a Subject,
    pub(super) way: Way,
    pub(super) place: Place,
    /// Source address of the probe through the path.
    pub(super) source: IpAddr,
    /// Address of the director outside of the real's network, to which the real replies as to clients.
    far: Option<IpAddr>,
    /// Port, or echo identifier, of the probe through the path; the other probes use the following ones.
    pub(super) port: u16,
    asked: [Option<Asked>; 3],
    pub(super) seen: Seen,
}

/// A question that is being sent.
struct Asked {
    sent: Sent,
    /// Source port, as the real sees it.
    port: u16,
}

/// A question to a real.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Question {
    /// The VIP, through the path, from a near address.
    Through,
    /// The RIP, without a tunnel.
    Direct,
    /// The VIP as in [`Question::Through`], from an address in another network.
    Far,
}

impl Question {
    const ALL: [Self; 3] = [Self::Through, Self::Direct, Self::Far];

    /// Number of ports per probe: one for each question.
    const PORTS: usize = 3;
}

/// Probes every real; `known` are the findings so far.
pub(super) fn check(facts: &Facts, wire: &Wire, programs: &mut Single, known: &[Finding]) -> Vec<Finding> {
    let mut sender = Sender::new(facts, wire, programs);
    // Ports below those that the kernel allocates, and different in each run: a real may remember the last probe.
    let now = SystemTime::now();
    let salt = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
    let ports = (2_000 + (salt >> 8) as u16 % 4_000..32_000).step_by(Question::PORTS);
    let mut probes: Vec<Probe<'_>> = facts
        .subjects
        .iter()
        .filter_map(|subject| Probe::of(facts, subject))
        .zip(ports)
        .map(|(probe, port)| Probe { port, ..probe })
        .collect();
    for probe in &mut probes {
        probe.prepare(&mut sender, salt);
    }
    let reals = on_link(facts);
    for _ in 0..2 {
        ask(&mut sender, &mut probes, &reals);
    }
    narrow::narrow(&mut sender, &mut probes, salt);
    let silent: Vec<&Subject> =
        probes.iter().filter(|probe| probe.seen.is_silent()).map(|probe| probe.subject).collect();
    let whereabouts = next_hop::look_for_silent(facts, wire, &silent);
    let mut findings = Vec::new();
    for probe in &probes {
        // A real with weight 0 may be switched off.
        let seen = &probe.seen;
        let is_off = probe.subject.weight == 0
            && (seen.is_silent()
                || seen.pings && seen.through == Answer::Silence
                || seen.kept.is_some()
                || seen.through == Answer::Refused);
        let is_silent = probe.seen.is_silent();
        let misled = is_silent.then(|| next_hop::misled(facts, probe.subject, &whereabouts)).flatten();
        match misled {
            // There is a finding about the tunnel already.
            _ if mtu::is_too_narrow(probe.subject, &probe.way) => {}
            Some(finding) => findings.push(finding),
            None if is_off => {}
            None => {
                let finding = mtu::kept(facts, probe);
                let finding = finding.or_else(|| judge(probe.subject, &probe.place, probe.seen));
                findings.extend(finding.filter(|finding| probe.tells(finding)));
            }
        }
    }
    let turn = bypass::turn(now);
    findings.extend(bypass::check(facts, wire, turn, &findings));
    findings.extend(came_back::check(facts, &mut sender, turn, (&probes, known)));
    findings.extend(mtu::narrow(facts));
    findings.extend(mtu::check(facts, &mut sender, &probes));
    findings.extend(next_hop::behind_routers(facts, &mut sender));
    findings
}

/// Returns the reals on the director's link, by their Ethernet address.
fn on_link(facts: &Facts) -> BTreeMap<Mac, IpAddr> {
    let near = facts.subjects.iter().filter(|subject| subject.gateway.is_none());
    near.filter_map(|subject| Some((subject.way.as_ref().ok()?.to, subject.rip))).collect()
}

/// Returns the answer of a `dr` real to a probe through a tunnel, as it would arrive with `tun`.
pub(super) fn asks_by_tunnel(facts: &Facts, sender: &mut Sender<'_>, subject: &Subject) -> Answer {
    let mut by_tunnel = subject.clone();
    by_tunnel.forward = Forward::Tun;
    if let Some(entry) = &mut by_tunnel.entry {
        entry.real.method = Forward::Tun.method() as u16;
    }
    let Some(mut probe) = Probe::of(facts, &by_tunnel) else { return Answer::Silence };
    (probe.port, probe.far) = (1_990, None);
    probe.prepare(sender, 1);
    let mut probes = [probe];
    ask(sender, &mut probes, &BTreeMap::new());
    probes[0].seen.through
}

/// Returns an address of the director, with the IP version of `like`, outside of the real's network: packets
/// to it take the real's route to other networks.
pub(super) fn elsewhere(facts: &Facts, dip: IpAddr, like: IpAddr, only_clients: bool) -> Option<IpNet> {
    let near: Vec<_> =
        facts.addresses.iter().map(|address| address.net).filter(|net| net.addr() == dip).collect();
    let vips = facts.vips();
    let usable = facts.addresses.iter().filter(|address| {
        let link_local = match address.net.addr() {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        let clients = !only_clients || facts.attached.contains_key(&address.ifindex);
        !address.host_scope && !address.net.addr().is_loopback() && !link_local && clients
    });
    usable
        .map(|address| address.net)
        .filter(|net| net.addr().is_ipv4() == like.is_ipv4() && !vips.contains(&net.addr()))
        .find(|other| near.iter().all(|net| !net.contains(&other.addr())))
}

impl Subject {
    /// Returns whether the probe can be a SYN.
    pub(super) fn asks_tcp(&self) -> bool {
        self.protocol == Protocol::Tcp && self.port != 0 && self.real_port != 0
    }
}

impl<'a> Probe<'a> {
    fn of(facts: &Facts, subject: &'a Subject) -> Option<Self> {
        let dip = subject.dip?;
        let way = *subject.way.as_ref().ok()?;
        let near = |like: IpAddr| {
            if dip.is_ipv4() == like.is_ipv4() {
                return Some(dip);
            }
            elsewhere(facts, dip, like, false).map(|net| net.addr())
        };
        let far = |only_clients| elsewhere(facts, dip, subject.vip, only_clients);
        let (source, far) = match subject.forward {
            Forward::Local => return None,
            Forward::Dr if subject.gateway.is_some() => return None,
            Forward::Dr | Forward::Tun => (near(subject.vip)?, far(true)),
            Forward::Fnat => (dip, far(false)),
            // The VIP serves as the source if there is no other address, unless the real has the VIP itself.
            Forward::Nat => {
                let shares = |other: &Subject| {
                    other.rip == subject.rip && other.vip == subject.vip && other.holds_vip()
                };
                let vip = (!facts.subjects.iter().any(shares)).then_some(subject.vip);
                (far(false).map(|net| net.addr()).or(vip)?, far(false))
            }
        };
        let clients = far.map(|net| net.trunc()).filter(|net| !net.contains(&subject.rip));
        let far = far.map(|net| net.addr()).filter(|far| *far != source);
        let shares_link =
            facts.addresses.iter().any(|a| Some(a.net.addr()) == far && a.ifindex == way.ifindex);
        let elsewhere = far.or((source != dip && subject.forward == Forward::Nat).then_some(source));
        let place = Place { dip, clients, far: elsewhere, shares_link };
        let (asked, seen) = ([None, None, None], Seen::default());
        Some(Self { subject, way, place, source, far, port: 0, asked, seen })
    }

    /// Returns source and destination of a question; `None` if it cannot be asked.
    fn ends(&self, question: Question) -> Option<((IpAddr, u16), (IpAddr, u16))> {
        let Subject { vip, port, rip, real_port, .. } = *self.subject;
        let from = self.port + question as u16;
        // The programs do not forward a ping of the VIP, which the director itself answers.
        let to_vip = self.takes_path(question) && (self.subject.holds_vip() || self.is_tcp(question));
        let to = if to_vip { (vip, port) } else { (rip, real_port) };
        match question {
            Question::Through => Some(((self.source, from), to)),
            Question::Direct => Some(((self.place.dip, from), to)),
            Question::Far => Some(((self.far?, from), to)),
        }
    }

    /// Returns whether the programs send the probe.
    fn takes_path(&self, question: Question) -> bool {
        match question {
            Question::Through => true,
            Question::Direct => false,
            Question::Far => self.subject.holds_vip(),
        }
    }

    /// Returns whether the probe is a SYN rather than a ping.
    fn is_tcp(&self, question: Question) -> bool {
        self.subject.asks_tcp() && !(self.subject.forward == Forward::Fnat && question == Question::Direct)
    }

    /// Returns the address that should answer.
    fn answers(&self, question: Question) -> IpAddr {
        let through_vip = self.takes_path(question) && self.subject.holds_vip();
        if through_vip { self.subject.vip } else { self.subject.rip }
    }

    fn answer(&mut self, question: Question) -> &mut Answer {
        match question {
            Question::Through => &mut self.seen.through,
            Question::Direct => &mut self.seen.direct,
            Question::Far => self.seen.far.get_or_insert_default(),
        }
    }

    /// Creates the frames of all questions.
    fn prepare(&mut self, sender: &mut Sender<'_>, sequence: u32) {
        for question in Question::ALL {
            let Some((from, to)) = self.ends(question) else { continue };
            let asked = if self.is_tcp(question) {
                self.segment(sender, question, sequence, false)
            } else if self.takes_path(question) && self.subject.holds_vip() {
                sender.ping_through(self.subject, &self.way, from.0, (from.1, 0), 64)
            } else {
                Ok(self.framed(frame::echo(from.0, to.0, from.1, 0, 64)))
            };
            match asked {
                Ok(sent) => {
                    // With `fnat`, the programs change the port.
                    let port = if self.is_tcp(question) && self.subject.forward == Forward::Fnat {
                        frame::source_port(&sent.1).unwrap_or(from.1)
                    } else {
                        from.1
                    };
                    self.asked[question as usize] = Some(Asked { sent, port });
                }
                Err(SingleError::Kept(reason)) => {
                    self.seen.kept = Some(reason.map_or("not_ours", lb_common::reason::Reason::as_str));
                }
                Err(error) => {
                    tracing::debug!(error = chain(&error), "doctor: the programs cannot be run on a probe");
                    self.asked[question as usize] =
                        self.by_hand(question, sequence).map(|sent| Asked { sent, port: from.1 });
                }
            }
        }
    }

    /// Returns a TCP segment of a question.
    fn segment(
        &self,
        sender: &mut Sender<'_>,
        question: Question,
        sequence: u32,
        reset: bool,
    ) -> Result<Sent, SingleError> {
        let Some((from, to)) = self.ends(question) else { return Err(SingleError::Kept(None)) };
        let packet = frame::tcp(from, to, sequence, reset);
        if self.takes_path(question) {
            sender.through(self.subject, &packet)
        } else {
            Ok(self.framed(packet))
        }
    }

    /// Returns the RST for an answered SYN. The programs do not run again for it: with many `fnat` flows,
    /// they have lost the first ones.
    fn take_back(&self, sender: &mut Sender<'_>, question: Question, acknowledged: u32) -> Option<Sent> {
        // A checksum over the content of the tunnel requires the programs after all.
        if self.subject.tunnel().is_some_and(|(_, tunnel)| tunnel.csum()) {
            return self.segment(sender, question, acknowledged, true).ok();
        }
        let Asked { sent: (ifindex, frame), .. } = self.asked[question as usize].as_ref()?;
        Some((*ifindex, frame::take_back(frame, acknowledged)))
    }

    /// Constructs the programs' output by hand, if they cannot be run.
    fn by_hand(&self, question: Question, sequence: u32) -> Option<Sent> {
        let (from, _) = self.ends(question)?;
        let Subject { vip, port, rip, real_port, .. } = *self.subject;
        let to = if self.subject.holds_vip() { (vip, port) } else { (rip, real_port) };
        let packet = if self.is_tcp(question) {
            frame::tcp(from, to, sequence, false)
        } else {
            frame::echo(from.0, to.0, from.1, 0, 64)
        };
        Some((self.way.ifindex, frame::framed(&self.way, self.subject.tunnel(), packet)))
    }

    /// Returns the frame of a packet to the real itself.
    fn framed(&self, packet: Vec<u8>) -> Sent {
        (self.way.ifindex, frame::framed(&self.way, None, packet))
    }

    /// Returns whether the probe supports a finding: for `nat` and `fnat`, a ping of the real is not a packet
    /// of the service, and a firewall may drop it while it accepts those.
    fn tells(&self, finding: &Finding) -> bool {
        let is_its_own = self.subject.asks_tcp() || self.subject.holds_vip();
        is_its_own || ["nat-replies", "fnat-replies"].contains(&finding.check.as_str())
    }

    /// Returns whether all answers have arrived.
    fn is_answered(&self) -> bool {
        let far = self.far.is_none() || self.seen.far.is_some_and(|far| far != Answer::Silence);
        far && self.seen.through != Answer::Silence && self.seen.direct != Answer::Silence
    }
}

/// Sends the unanswered probes, and listens. `reals` are the reals that might answer instead of another one.
fn ask(sender: &mut Sender<'_>, probes: &mut [Probe<'_>], reals: &BTreeMap<Mac, IpAddr>) {
    for probe in probes.iter_mut() {
        for question in Question::ALL {
            if probe.asked[question as usize].is_some()
                && *probe.answer(question) == Answer::Silence
                && let Some(asked) = &probe.asked[question as usize]
            {
                sender.send(&asked.sent);
            }
        }
    }
    let ports = |(n, probe): (usize, &Probe<'_>)| {
        let asked = |question| Some((probe.asked[question as usize].as_ref()?.port, (n, question)));
        Question::ALL.into_iter().filter_map(asked).collect::<Vec<_>>()
    };
    let by_port: BTreeMap<u16, (usize, Question)> = probes.iter().enumerate().flat_map(ports).collect();
    let wire = sender.wire;
    wire.listen(PATIENCE, |_, bytes| {
        let Some(heard) = answer(bytes) else { return false };
        if let Said::NoTunnel(port) = heard.said {
            for probe in probes.iter_mut().filter(|probe| probe.subject.rip == heard.from) {
                probe.seen.no_tunnel |= port == probe.subject.tunnel_port();
            }
            return false;
        }
        let Some((n, question)) = by_port.get(&heard.probe).copied() else { return false };
        let Some(probe) = probes.get_mut(n) else { return false };
        let rejected = heard.said == Said::Rejected;
        if !rejected && probe.answers(question) != heard.from {
            return false;
        }
        *probe.answer(question) = match heard.said {
            Said::Refused => Answer::Refused,
            Said::Rejected => Answer::Rejected,
            Said::Open(_) | Said::Echo(_) | Said::NoTunnel(_) => Answer::Yes,
        };
        if probe.subject.holds_vip() && probe.takes_path(question) && probe.subject.gateway.is_none() {
            let other =
                bytes.get(6..12).filter(|from| *from != probe.way.to).and_then(|from| reals.get(from));
            probe.seen.taken_by = probe.seen.taken_by.or(other.copied());
        }
        probe.seen.is_unsound |= !heard.is_sound;
        // Resets an answered connection, which the director's stack does not know.
        if let Said::Open(acknowledged) = heard.said
            && let Some(reset) = probe.take_back(sender, question, acknowledged)
        {
            sender.send(&reset);
        }
        probes.iter().all(Probe::is_answered)
    });
}
