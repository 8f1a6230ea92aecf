// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lifecycle of the daemon: start, event loop, stop.
#![forbid(unsafe_code)]

mod cleanup; //    what a start leaves behind if it fails
mod follow; //     services of the kernel's IPVS
mod interfaces; // interfaces to attach to
mod recover; //    state that a start begins with
mod reload; //     SIGHUP
mod servers; //    listeners on TCP
mod vips; //       how VIPs become known

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use cleanup::{Cleanup, Fresh};
use servers::{Files, Servers};
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::{
    api::{listener, socket},
    daemon::{
        Director, PinLock, Shared, change,
        director::Parts,
        dirty::Dirty,
        flow_growth,
        health::{self, Prober},
        lock::For,
        notify, readiness,
        ready_file::ReadyFile,
        revert_in_time, sync,
    },
    observe::{manager, rates},
    server::{api, http},
};
use lb_control::{
    config::{self, Config},
    dips::Dips,
    neighbours::Neighbours,
    state::{Loaded, State},
    state_lock::StateLock,
};
use lb_dataplane::{DataPlane, LoadError, Mode, Options, PinDir, log, private};
use lb_model::{
    Desired,
    failure::{Failure, chain},
};
use lb_netlink::{Interface, Netlink, Watch, ipvs::Ipvs};

/// Interval at which neighbours are refreshed, on kernels that do not keep managed neighbour entries.
const REFRESH: Duration = Duration::from_secs(5);
/// Interval of sweeps, which remove ended flows.
const SWEEP: Duration = Duration::from_secs(10);
/// Interval of the watchdog's reads if no service manager waits for signs of life.
const UNWATCHED: Duration = Duration::from_secs(20);
/// Time for which changes of the network are collected before they are written to the maps. One event often
/// causes several messages, and one refresh covers them all.
const GATHER: Duration = Duration::from_millis(10);

/// Options of the command line; the config file supplies the others.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct RunOptions {
    /// Interfaces to attach to.
    pub interfaces: Vec<String>,
    /// Config file.
    pub config: Option<PathBuf>,
    /// XDP mode.
    pub xdp_mode: Option<Mode>,
    /// Directory for pins.
    pub bpffs: PathBuf,
    /// State file.
    pub state: PathBuf,
    /// Listening address of the metrics.
    pub metrics: Option<SocketAddr>,
    /// Listening address of the agent API.
    pub api: Option<SocketAddr>,
    /// File with the token that agents must present.
    pub api_token_file: Option<PathBuf>,
    /// Listening address of the API, the metrics and the status page over TCP.
    pub http: Option<SocketAddr>,
    /// Certificate of that listener.
    pub http_cert: Option<PathBuf>,
    /// Private key of the certificate.
    pub http_key: Option<PathBuf>,
    /// CAs of clients of that listener.
    pub http_client_ca: Option<PathBuf>,
    /// File with the tokens of people and programs.
    pub tokens: Option<PathBuf>,
    /// Interval of the doctor's checks; zero disables them.
    pub doctor_every: Duration,
    /// Follows the kernel's IPVS.
    pub follow_ipvs: bool,
    /// Leaves VIPs to others.
    pub no_manage_vips: bool,
    /// Adds VIPs even if other machines have them.
    pub take_over: bool,
    /// Ends forwarding with the daemon.
    pub detach_on_exit: bool,
    /// Forwards the log messages of the programs.
    pub verbose: bool,
    /// Unix socket of the API.
    pub socket: PathBuf,
}

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// If the daemon cannot start; then existing forwarding is unchanged.
pub async fn run(options: RunOptions) -> Result<(), Failure> {
    // 1. Read the configuration.
    let config = read_config(options.config.as_deref())?;
    let netlink = Netlink::open()?;
    let interfaces = interfaces::find(&netlink, &options, &config).await?;

    // 2. Prepare; nothing is visible yet.
    let pins = PinDir::prepare(&options.bpffs).map_err(LoadError::from)?;
    let _lock = PinLock::take(pins.path(), For::Daemon)?;
    let _state_lock = StateLock::take(&options.state)?;
    let loaded = Loaded::read(&options.state)?;
    let socket = socket::bind(&options.socket)?;
    let _socket = Cleanup(options.socket.clone());
    let servers = Servers::bind(&options, &config).await?;
    pins.end_replacement().map_err(LoadError::from)?;
    let resized = pins.end_resize().map_err(LoadError::from)?;
    let mut state = recover::state(loaded, &pins, &options, &config, &netlink).await?;
    let limits = recover::limits(&mut state, &pins, config.director.limits());
    let follow = follow::Start::read(&options, &config, &netlink, &limits).await?;
    let mut desired = wanted(follow.as_ref(), &config, &state);
    change::carry_over(&state.desired, &mut desired);
    let has_services = !config.desired.services.is_empty();
    let changes = change::differences(&state.desired, &desired);
    state.dips = Dips::of(&state.dips, &config.director.fnat_addresses);
    let settings = follow::settings(&options, state.dips.count_in(config.director.settings()));
    let timeouts = follow::timeouts(follow.as_ref(), &config.director, state.timeouts);
    state.follows_ipvs = follow.is_some();
    let load = Options {
        pins: Some(pins.clone()),
        limits,
        settings: Some(settings),
        timeouts: Some(timeouts),
        log: options.verbose,
        beside: None,
    };
    // If a link exists, the pinned programs forward packets: the pins stay even if this start fails.
    let fresh = pins.linked().is_empty().then(|| Fresh(Some(pins.clone())));
    let ready_file = ready_file(&config, fresh.is_none())?;
    // Neighbours answer while the kernel verifies the programs.
    let mut neighbours = Neighbours::new(netlink.clone());
    neighbours.refresh(&desired.rips().collect()).await;
    let loaded = DataPlane::load(&load);
    if loaded.is_err() && fresh.is_some() {
        neighbours.release_all().await;
    }
    let mut plane = loaded?;
    if resized {
        bring_over(&pins, &mut plane)?;
    }
    if options.verbose {
        forward_messages(&mut plane);
    }
    let added = std::mem::take(&mut state.vips);
    let vips = vips::manager(&netlink, &interfaces, added, &options, &config.director).await?;
    let watch = Watch::open()?;
    let mode = options.xdp_mode.unwrap_or(config.director.xdp_mode);
    let parts = Parts {
        plane,
        limits,
        settings,
        timeouts,
        netlink,
        vips,
        state_file: options.state.clone(),
        health_file: health::beside(&options.state),
        state,
        pins: pins.clone(),
        mode,
        section: config.director.clone(),
    };
    let mut director = Director::new(parts)?;

    // 3. Traffic starts here. Interfaces come first: if one refuses, services and state are unchanged.
    begin(follow.as_ref(), &mut director, desired, &interfaces).await?;
    tell(&changes, if follow.is_some() { "IPVS" } else { "the config file" });
    if let Some(file) = options.config.as_deref().filter(|_| has_services) {
        director.note_config_file(file);
    }
    for line in director.reconcile().await {
        tracing::warn!("{line}");
    }
    let (director, checks) = health::share(director, Prober::new(load, &interfaces, &config.director));
    // Programs of events are killed when the daemon ends.
    let _notifier = notify::start(&config.director, director.events());
    director.note("start of the daemon".to_owned());
    let ready = begin_tasks(&director, &config, ready_file).await?;
    let files = servers.start(&director, limits.reals);
    let growth = flow_growth::start(director.clone());
    let ipvs = follow.as_ref().map(follow::Start::ipvs);
    let follow = follow::start(follow, &director, &interfaces).await?;
    fresh.into_iter().for_each(Fresh::keep);
    let doctor = tokio::spawn(examine_every(options.doctor_every, director.clone()));
    let end = supervise(&director, socket, files, watch, options.config.as_deref()).await;
    manager::stopping();
    [growth, ready, doctor].iter().for_each(JoinHandle::abort);
    follow.iter().for_each(JoinHandle::abort);
    checks.iter().for_each(JoinHandle::abort);

    // 4. A signal arrived. By default forwarding continues without the daemon.
    drop(director.history().list().await);
    tell_end(&config, options.detach_on_exit && ipvs.is_none());
    finish(&director, &pins, options.detach_on_exit, ipvs.as_ref()).await?;
    end
}

/// Reads the config file, and checks what its announcements of connections need.
fn read_config(file: Option<&Path>) -> Result<Config, Failure> {
    let config = file.map(config::read).transpose()?.unwrap_or_default();
    sync::check(&config.sync)?;
    Ok(config)
}

/// Opens the ready file, if there is one. `continues` is whether programs of an earlier daemon forward.
fn ready_file(config: &Config, continues: bool) -> Result<Option<ReadyFile>, Failure> {
    let file = config.director.ready_file.as_deref();
    file.map(|file| ReadyFile::open(file, continues)).transpose()
}

/// Tells keepalived that another director has to take the traffic over, if forwarding `ends` here.
fn tell_end(config: &Config, ends: bool) {
    if ends && let Err(failure) = ready_file(config, false) {
        tracing::error!("{}", failure.message);
    }
}

/// Begins the tasks that end with the process.
async fn begin_tasks(
    director: &Shared,
    config: &Config,
    ready_file: Option<ReadyFile>,
) -> Result<JoinHandle<()>, Failure> {
    sync::prepare(director, &config.sync).await?.start(director).await;
    tokio::spawn(revert_in_time(director.clone()));
    tokio::spawn(sync::apply_when_changed(director.clone()));
    Ok(readiness::start(director.clone(), ready_file))
}

/// Forwards the messages of the programs to the log.
fn forward_messages(plane: &mut DataPlane) {
    if let Err(error) = log::forward(plane.ebpf()) {
        tracing::warn!(error = chain(error.as_ref()), "the programs' messages cannot be read");
    }
}

/// Copies flows that began in the replaced maps, if a daemon crashed during a resize.
fn bring_over(pins: &PinDir, plane: &mut DataPlane) -> Result<(), LoadError> {
    let copied = pins.tables_aside().and_then(|aside| plane.tables().copy_connections(&aside));
    if let Err(error) = copied {
        tracing::warn!(error = chain(&error), "some flows of before the broken resize are lost");
    }
    pins.remove_aside().map_err(LoadError::from)
}

/// Returns the services to begin with: those of IPVS, else those of the config file, else those of the last run.
fn wanted(follow: Option<&follow::Start>, config: &Config, state: &State) -> Desired {
    match follow {
        Some(follow) => follow.desired(),
        None if config.desired.services.is_empty() => state.desired.clone(),
        None => config.desired.clone(),
    }
}

/// Attaches the programs and puts the services in force. Beside IPVS, the programs are attached when the flow table has its
/// connections: [`follow::Start::start`].
async fn begin(
    follow: Option<&follow::Start>,
    director: &mut Director,
    desired: Desired,
    interfaces: &[Interface],
) -> Result<(), Failure> {
    if let Some(follow) = follow {
        return follow.begin(director, desired).await;
    }
    director.attach(interfaces).await?;
    director.begin(desired).await?;
    director.guard_interfaces();
    Ok(())
}

/// Ends the daemon: hands its connections to IPVS, detaches the data plane, or leaves it attached and saves the state.
async fn finish(director: &Shared, pins: &PinDir, detach: bool, ipvs: Option<&Ipvs>) -> Result<(), Failure> {
    let mut director = director.lock().await;
    if let Some(ipvs) = ipvs {
        return director.hand_back(ipvs, pins).await;
    }
    if detach {
        // Remove the VIPs first, so that the director does not answer ARP for services that it no longer
        // forwards.
        director.release().await;
        director.detach();
        pins.remove_all().map_err(|error| Failure::failed(chain(&error)))?;
        pins.remove_guard().map_err(|error| Failure::failed(chain(&error)))?;
        tracing::info!("detached: forwarding has ended");
    } else {
        director.end_traces("the daemon ends");
        if let Some(unsaved) = director.health_to_save() {
            unsaved.save();
        }
        if let Err(failure) = director.close_state() {
            tracing::error!("{}", failure.message);
        }
        if private::pins_end_with_us() {
            tracing::warn!(
                "stopped: forwarding ends with this mount namespace, whose bpf filesystem has the pins; `xvs \
                 detach` removes the VIPs"
            );
        } else {
            tracing::info!("stopped: forwarding continues; `xvs detach` ends it");
        }
    }
    Ok(())
}

/// Maximum number of log lines about the changes that the config file makes at a start.
const CHANGES: usize = 100;

/// Logs the changes that their `origin`, such as the config file, makes at a start, by name: services added at run time
/// that it lacks are removed.
fn tell(changes: &[change::Difference], origin: &str) {
    for change in changes.iter().take(CHANGES) {
        tracing::info!("from {origin}: {}", change.done());
    }
    if let more @ 1.. = changes.len().saturating_sub(CHANGES) {
        tracing::info!("and {more} more changes");
    }
}

/// Serves until a signal arrives or a server fails.
async fn supervise(
    director: &Shared,
    socket: UnixListener,
    files: Option<Files>,
    mut watch: Watch,
    config: Option<&Path>,
) -> Result<(), Failure> {
    let broken = |error: std::io::Error| Failure::failed(format!("a server failed: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(broken)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(broken)?;
    let api = listener::serve(socket, http::complete(api::router(director.clone())), api::LIMITS);
    let mut api = tokio::spawn(api);
    let (mut refresh, mut sweep) = (interval(REFRESH), interval(SWEEP));
    let mut sample = interval(rates::PERIOD / rates::PARTS);
    sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watchdog = interval(manager::watchdog().unwrap_or(UNWATCHED));
    watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let summary = director.lock().await.summary();
    tracing::info!("ready: {summary}");
    manager::ready(&summary);
    // Time of the next refresh after a change. It is outside of the futures of the loop below: `select!`
    // drops those, with their state, when another branch completes first.
    let mut due: Option<Instant> = None;
    let mut dirty = Dirty::default();
    loop {
        let look = due.unwrap_or_else(Instant::now);
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => reload::reload(config, director, files.as_ref()).await,
            ended = &mut api => {
                let Err(why) = ended;
                return Err(Failure::failed(format!("the API server ended: {why}")));
            }
            change = watch.next() => match change {
                Some(change) if director.concerns(&change) => {
                    dirty.note(&change);
                    due.get_or_insert_with(|| Instant::now() + GATHER);
                }
                Some(_) => {}
                None => {
                    watch = Watch::open()?;
                    dirty = Dirty::All;
                    due = Some(Instant::now());
                }
            },
            () = sleep_until(look), if due.is_some() => {
                due = None;
                let changed = std::mem::take(&mut dirty);
                report(director.lock().await.refresh_after(changed).await.map(|()| 0), "network");
            }
            _ = refresh.tick() => {
                let mut director = director.lock().await;
                report(director.refresh_in_turn().await.map(|()| 0), "network");
                manager::status(&director.summary());
            }
            _ = sample.tick() => {
                report(director.lock().await.sample_rates().map(|()| 0), "rates");
            }
            _ = sweep.tick() => {
                report(director.lock().await.sweep(), "sweep");
            }
            // A loop that hangs, or whose maps cannot be read, gives no sign of life.
            _ = watchdog.tick() => {
                let read = director.lock().await.read_maps();
                if read.is_ok() {
                    manager::alive();
                }
                report(read.map(|()| 0), "watchdog");
            }
        }
    }
}

/// Runs the doctor's checks periodically. The findings are in the log, in `xvs status` and in the metrics.
async fn examine_every(period: Duration, director: Shared) {
    if period.is_zero() {
        return;
    }
    loop {
        tokio::time::sleep(period).await;
        report(crate::daemon::examine(&director).await.map(|_| 0), "doctor");
    }
}

fn report(result: Result<usize, Failure>, what: &str) {
    match result {
        Ok(0) => {}
        Ok(count) => tracing::debug!(count, "{what}"),
        Err(failure) => tracing::error!("{what}: {}", failure.message),
    }
}
