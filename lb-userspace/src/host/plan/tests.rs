// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plans as they are printed and as they are carried out.

use lb_netlink::sysctl::{Name, Sysctl};
use std::{collections::BTreeSet, path::Path};

use proptest::prelude::*;

use super::{
    restore::Recorded,
    setup::{AtBoot, plan},
    *,
};
use crate::host::{
    arp::Levels,
    boot::{Persist, files::Disk},
    decap::Choice,
    encapsulation::{Kind, Support},
    observed::Observed,
    state::{Remembered, Sharers},
    target::{Method, Target},
    testing::{at, host, interface, target},
};
use lb_netlink::Interface;

/// Stands in for the kernel: takes note of what it is told, and predicts its effect.
struct Recorder {
    steps: Vec<Step>,
    host: Observed,
}

impl Executor for Recorder {
    async fn step(&mut self, step: &Step) -> Result<Done, HostError> {
        self.host.expect(step);
        self.steps.push(step.clone());
        Ok(step.done())
    }

    fn record(&mut self, _: &Record) -> Result<(), HostError> {
        Ok(())
    }
}

/// Carries a plan out on `host`; returns the steps, the lines and the host afterwards.
async fn carry_out(plan: &Plan, host: &Observed) -> (Vec<Step>, Vec<Done>, Observed) {
    let (mut recorder, mut lines) = (Recorder { steps: Vec::new(), host: host.clone() }, Vec::new());
    run(plan, &mut recorder, &mut |done| lines.push(done)).await.unwrap();
    (recorder.steps, lines, recorder.host)
}

async fn print(plan: &Plan) -> Vec<Done> {
    let mut lines = Vec::new();
    run(plan, &mut DryRun, &mut |done| lines.push(done)).await.unwrap();
    lines
}

fn at_boot(etc: &Path) -> AtBoot {
    let persist = Persist { etc: etc.to_owned(), program: "/xvs".into(), state: "/state".into() };
    let boot = Boot::below(etc, None).unwrap();
    AtBoot { persist, disk: boot.disk().unwrap(), boot }
}

/// Plans of every kind of step.
fn plans(etc: &Path) -> Vec<(Plan, Observed)> {
    let remembered = Remembered::default();
    let vips = ["192.0.2.100", "2001:db8::100"];
    let mut with_devices = host(0);
    with_devices.support = Kind::ALL.into_iter().map(|kind| (kind, Support::Present)).collect();
    let mut plans: Vec<(Plan, Observed)> = [
        (target(&vips, Method::Dr), host(0)),
        (target(&vips, Method::Dr), host(3)),
        (target(&vips, Method::Tun), host(1)),
        (target(&vips, Method::Tun), with_devices),
        (Target { decap: Choice::Xdp, ..target(&vips, Method::Tun) }, host(0)),
    ]
    .into_iter()
    .map(|(target, host)| (plan(&target, host.clone(), &remembered, Some(at_boot(etc))).unwrap(), host))
    .collect();
    let changes: Vec<Change> =
        plans.iter().flat_map(|(plan, _)| plan.steps()).filter_map(Step::change).collect();
    let recorded = changes.iter().cloned().enumerate();
    let recorded =
        recorded.map(|(n, change)| Recorded { change, idle: (n % 3 == 0).then(|| "is gone".into()) });
    let all = Remembered { changes: changes.clone(), ..Remembered::default() };
    let restore =
        restore::plan(&all, BTreeSet::new(), recorded.collect(), &Sharers::default(), Disk::default());
    plans.push((restore.unwrap(), host(0)));
    plans
}

#[tokio::test]
async fn a_dry_run_prints_the_steps_that_are_carried_out() {
    let etc = tempfile::tempdir().unwrap();
    let mut kinds = BTreeSet::new();
    for (plan, host) in plans(etc.path()) {
        let (steps, done, _) = carry_out(&plan, &host).await;
        let printed = print(&plan).await;
        assert_eq!(steps, plan.steps().cloned().collect::<Vec<_>>());
        // Line by line: the same subject, and the same text if there is nothing to do.
        assert_eq!(printed.len(), done.len());
        let mut steps = steps.iter();
        for (printed, done) in printed.iter().zip(&done) {
            assert_eq!(printed.item, done.item);
            match done.outcome {
                Outcome::Changed | Outcome::Restored => {
                    assert_eq!(printed, &steps.next().unwrap().planned());
                }
                _ => assert_eq!(printed, done),
            }
        }
        assert_eq!(steps.next(), None);
        kinds.extend(plan.steps().map(|step| format!("{step:?}").split(' ').next().unwrap().to_owned()));
    }
    let expected = ["Address", "Device", "Directory", "File", "Link", "Program", "Sysctl", "Undo", "Up"];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn each_step_has_a_command_or_only_xvs_can_do_it() {
    let etc = tempfile::tempdir().unwrap();
    for (plan, _) in plans(etc.path()) {
        for step in plan.steps() {
            let is_program = match step {
                Step::Program { .. } => true,
                Step::Undo { change, .. } => matches!(change, Change::Program { .. }),
                _ => false,
            };
            assert_eq!(step.command().is_none(), is_program, "{step:?}");
        }
    }
}

#[test]
fn each_step_is_recorded_and_undone_by_its_record() {
    let etc = tempfile::tempdir().unwrap();
    for (plan, _) in plans(etc.path()) {
        for step in plan.steps() {
            match (step, step.undo()) {
                (_, Some(Step::Undo { change, .. })) => assert_eq!(step.change(), Some(change)),
                // A new device is set up, and removed as a whole.
                (Step::Undo { .. } | Step::Up { is_new: true, .. }, None) => {}
                (step, undo) => panic!("{step:?} is undone by {undo:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_new_tunnel_device_is_planned_with_all_that_it_needs() {
    let (mut observed, target) = (host(1), target(&["192.0.2.100"], Method::Tun));
    observed.support.insert(Kind::Ipip, Support::Present);
    let plan = plan(&target, observed, &Remembered::default(), None).unwrap();
    let commands: Vec<String> = print(&plan).await.iter().filter_map(|done| done.command.clone()).collect();
    assert_eq!(
        commands,
        [
            "ip link add xvs-ipip type ipip external",
            "ip link set xvs-ipip up",
            "sysctl -w net.ipv4.conf.all.arp_announce=2",
            "sysctl -w net.ipv4.conf.lo.arp_announce=2",
            "sysctl -w net.ipv4.conf.eth0.arp_announce=2",
            // It inherits the strict filter, and drops everything without an address.
            "sysctl -w net.ipv4.conf.xvs-ipip.rp_filter=2",
            "ip address add 192.0.2.100/32 dev lo",
            "ip address add 192.0.2.100/32 dev xvs-ipip",
        ]
    );
}

#[tokio::test]
async fn what_the_kernel_may_lack_is_planned_with_the_alternative() {
    let target = target(&["192.0.2.100"], Method::Tun);
    let decapsulation = |observed: Observed, choice: Choice| {
        let target = Target { decap: choice, ..target.clone() };
        async move {
            let plan = plan(&target, observed, &Remembered::default(), None).map_err(|e| e.message)?;
            let line = |done: &Done| (done.item.contains('d')).then(|| done.detail.clone());
            Ok::<_, String>(print(&plan).await.iter().filter_map(line).collect::<Vec<_>>().swap_remove(0))
        }
    };
    let with = |support| Observed { support: [(Kind::Ipip, support)].into(), ..host(0) };
    let make = "make the ipip device xvs-ipip (IPv4 within IPv4)";
    let cannot = "this kernel cannot make the ipip device xvs-ipip";
    let otherwise = "; if the kernel has no such devices: attach the XDP program to eth0";
    for (support, auto, device) in [
        (Support::Present, make.to_owned(), Ok(make.to_owned())),
        (Support::Unknown, format!("{make}{otherwise}"), Ok(make.to_owned())),
        (Support::Absent, format!("{cannot}: using the XDP program"), Err(cannot.to_owned())),
    ] {
        assert_eq!(decapsulation(with(support), Choice::Auto).await, Ok(auto), "{support:?}");
        assert_eq!(decapsulation(with(support), Choice::Device).await, device, "{support:?}");
    }
    let refused = Observed { refused: [(Kind::Ipip, "no".into())].into(), ..with(Support::Present) };
    assert_eq!(decapsulation(refused, Choice::Auto).await, Ok("no: using the XDP program".to_owned()));
    let mut other = with(Support::Present);
    other.interfaces.push(interface(7, "xvs-ipip", false));
    let expected = "the interface xvs-ipip is not of kind ipip: using the XDP program";
    assert_eq!(decapsulation(other, Choice::Auto).await, Ok(expected.to_owned()));
}

#[tokio::test]
async fn warnings_are_those_of_the_host_after_the_steps() {
    let warnings = |target: Target, observed: Observed| async move {
        let plan = plan(&target, observed, &Remembered::default(), None).unwrap();
        let lines = print(&plan).await.into_iter();
        lines.filter(|line| line.outcome == Outcome::Warning).map(|line| line.item).collect::<Vec<_>>()
    };
    let levels = |ignore, announce| {
        let arp = Levels { ignore: Some(ignore), announce: Some(announce) };
        Target { arp, ..target(&["192.0.2.100"], Method::Dr) }
    };
    let both = ["ARP requests for 192.0.2.100", "own ARP requests, sending from 192.0.2.100"];
    // The host answers now, and does not afterwards; and the other way round.
    assert!(warnings(levels(1, 2), host(0)).await.is_empty());
    assert_eq!(warnings(levels(0, 0), host(2)).await, both);
    // The VIP is added with scope host.
    assert!(warnings(levels(3, 2), host(0)).await.is_empty());
    let mut second = host(0);
    second.interfaces.push(interface(3, "eth1", false));
    second.routed.insert(3);
    assert_eq!(warnings(levels(1, 2), second.clone()).await, ["own ARP requests by eth1"]);
    second.addresses.push(at("10.1.0.11/24", 3));
    assert!(warnings(levels(1, 2), second).await.is_empty());
    let six = target(&["2001:db8::100"], Method::Dr);
    assert!(warnings(six, host(0)).await.is_empty());
}

#[test]
fn what_is_refused_has_no_plan() {
    let mut observed = host(0);
    observed.addresses.push(at("192.0.2.100/24", 2));
    let target = target(&["192.0.2.100"], Method::Dr);
    let failure = plan(&target, observed, &Remembered::default(), None).unwrap_err();
    assert!(failure.message.contains("wrong place"), "{failure}");
}

fn level() -> impl Strategy<Value = Option<i32>> {
    prop_oneof![Just(None), (0..4).prop_map(Some)]
}

proptest! {
    /// The plan for the host after a plan has nothing to do, whatever the host was like.
    #[test]
    fn a_plan_reaches_its_aim(
        values in proptest::collection::vec(0..9, 12),
        (ignore, announce) in (level(), level().prop_map(|level| level.map(|level| level % 3))),
        (is_tun, decap) in (any::<bool>(), 0..3_usize),
        (has_ipip, has_vip, replies_leave_there) in any::<(bool, bool, bool)>(),
        both in any::<bool>(),
    ) {
        let vips: &[&str] = if both { &["192.0.2.100", "2001:db8::100"] } else { &["192.0.2.100"] };
        let method = if is_tun { Method::Tun } else { Method::Dr };
        let target = Target {
            arp: Levels { ignore, announce },
            decap: [Choice::Auto, Choice::Device, Choice::Xdp][decap],
            replies_leave_there,
            ..target(vips, method)
        };
        let mut observed = host(0);
        for (value, now) in values.iter().zip(observed.sysctls.values_mut()) {
            *now = *value;
        }
        if has_ipip {
            observed.interfaces.push(Interface { kind: Some("ipip".into()), ..interface(9, "tunl0", true) });
            let inherited = Name::ALL.map(|name| (Sysctl::new("tunl0", name), values[3]));
            observed.sysctls.extend(inherited);
        }
        if has_vip {
            observed.addresses.push(at("192.0.2.100/32", 1));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let first = plan(&target, observed.clone(), &Remembered::default(), None).unwrap();
        let (_, _, after) = runtime.block_on(carry_out(&first, &observed));
        let second = plan(&target, after, &Remembered::default(), None).unwrap();
        prop_assert_eq!(second.steps().collect::<Vec<_>>(), Vec::<&Step>::new());
        let warnings = |plan: &Plan| {
            let lines = runtime.block_on(print(plan)).into_iter();
            lines.filter(|line| line.outcome == Outcome::Warning).collect::<Vec<_>>()
        };
        prop_assert_eq!(warnings(&first), warnings(&second));
    }
}
