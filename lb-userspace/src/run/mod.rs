// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of the daemon: start, event loop, stop.
#![forbid(unsafe_code)]

mod recover; // the state that a start begins with
mod reload; //  SIGHUP

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{SignalKind, signal},
    sync::Mutex,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::{
    api::{listener, socket, token::Token},
    control::{
        config::{self, Config},
        dips::Dips,
        neighbours::Neighbours,
        state::Loaded,
        state_lock::StateLock,
        vips::VipManager,
    },
    daemon::{Director, PinLock, Shared, change, director::Parts, dirty::Dirty, lock::For},
    dataplane::{AttachError, DataPlane, LoadError, Mode, Options, PinDir, log, private, shortage},
    failure::{Failure, chain},
    netlink::{Interface, Netlink, Watch},
    observe::rates,
    server::{agents, api, metrics},
};

/// How often neighbours are asked for again, on kernels that do not keep them by themselves.
const REFRESH: Duration = Duration::from_secs(5);
/// How often ended flows are forgotten.
const SWEEP: Duration = Duration::from_secs(10);
/// How long changes of the network are gathered before they are written to the maps. One event is often
/// several messages, and one look at the network answers all of them.
const GATHER: Duration = Duration::from_millis(10);

/// What was asked for on the command line; the config file says the rest.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct RunOptions {
    /// Interfaces to attach to.
    pub interfaces: Vec<String>,
    /// The config file.
    pub config: Option<PathBuf>,
    /// Where in the kernel to run.
    pub xdp_mode: Option<Mode>,
    /// Where to pin.
    pub bpffs: PathBuf,
    /// Where to keep the state.
    pub state: PathBuf,
    /// Where Prometheus scrapes.
    pub metrics: Option<SocketAddr>,
    /// Where agents of real servers ask.
    pub api: Option<SocketAddr>,
    /// What is in this file they must know.
    pub api_token_file: Option<PathBuf>,
    /// How often the doctor looks; zero for never.
    pub doctor_every: Duration,
    /// Whether VIPs are left to others.
    pub no_manage_vips: bool,
    /// Whether VIPs are taken from machines that have them.
    pub take_over: bool,
    /// Whether forwarding ends with the daemon.
    pub detach_on_exit: bool,
    /// Whether the programs' log messages are wanted.
    pub verbose: bool,
    /// Where the CLI talks to the daemon.
    pub socket: PathBuf,
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let hint = shortage::hint(&error).unwrap_or_else(|| error.hint().to_owned());
        Self::failed(chain(&error)).hint(hint)
    }
}

impl From<AttachError> for Failure {
    fn from(error: AttachError) -> Self {
        Self::failed(chain(&error)).hint(error.hint())
    }
}

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// Whatever keeps it from starting; then nothing that forwarded before has changed.
pub async fn run(options: RunOptions) -> Result<(), Failure> {
    // 1. Understand.
    let config = match &options.config {
        Some(path) => config::read(path)?,
        None => Config::default(),
    };
    let netlink = Netlink::open()?;
    let interfaces = find_interfaces(&netlink, &options, &config).await?;

    // 2. Prepare; nothing is visible yet.
    let pins = PinDir::prepare(&options.bpffs).map_err(LoadError::from)?;
    let _lock = PinLock::take(pins.path(), For::Daemon)?;
    let _state_lock = StateLock::take(&options.state)?;
    let loaded = Loaded::read(&options.state)?;
    let socket = socket::bind(&options.socket)?;
    let _socket = Cleanup(options.socket.clone());
    let metrics = match options.metrics.or(config.director.metrics.map(|at| at.0)) {
        Some(address) => Some(bind_metrics(address).await?),
        None => None,
    };
    let agents = bind_agents(&options, &config).await?;
    let resized = pins.end_resize().map_err(LoadError::from)?;
    let mut state = recover::state(loaded, &pins, &options, &config, &netlink).await?;
    let mut desired =
        if config.desired.services.is_empty() { state.desired.clone() } else { config.desired.clone() };
    change::carry_over(&state.desired, &mut desired);
    let has_services = !config.desired.services.is_empty();
    let changes = change::differences(&state.desired, &desired);
    state.dips = Dips::of(&state.dips, &config.director.fnat_addresses);
    let limits = recover::limits(&mut state, &pins, config.director.limits());
    let settings = state.dips.count_in(config.director.settings());
    let timeouts = config.director.timeouts(state.timeouts);
    let load = Options {
        pins: Some(pins.clone()),
        limits,
        settings: Some(settings),
        timeouts: Some(timeouts),
        log: options.verbose,
    };
    // With a link there, packets are forwarded by what is pinned: then it stays, whatever happens to this start.
    let fresh = pins.linked().is_empty().then(|| Fresh(Some(pins.clone())));
    // Neighbours answer while the kernel verifies.
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
    if options.verbose
        && let Err(error) = log::forward(plane.ebpf())
    {
        tracing::warn!(error = chain(error.as_ref()), "the programs' messages cannot be read");
    }
    let manage = !options.no_manage_vips && config.director.manage_vips.unwrap_or(true);
    let attached = interfaces.iter().map(|interface| interface.name.clone()).collect();
    let added = std::mem::take(&mut state.vips);
    let vips = manage.then(|| VipManager::new(netlink.clone(), attached, added, options.take_over));
    let watch = Watch::open()?;
    let mode = options.xdp_mode.unwrap_or(config.director.xdp_mode);
    let state_file = options.state.clone();
    let parts = Parts {
        plane,
        limits,
        settings,
        timeouts,
        netlink,
        vips,
        state_file,
        state,
        pins: pins.clone(),
        mode,
        section: config.director.clone(),
    };
    let mut director = Director::new(parts)?;

    // 3. Traffic from here on. Interfaces first: if one refuses, services and state are as they were.
    director.attach(&interfaces).await?;
    director.begin(desired).await?;
    director.guard_interfaces();
    tell(&changes);
    if let Some(file) = options.config.as_deref().filter(|_| has_services) {
        director.has_read(file);
    }
    if let Some(fresh) = fresh {
        fresh.keep();
    }
    for line in director.settle().await {
        tracing::warn!("{line}");
    }
    let director: Shared = Arc::new(Mutex::new(director));
    if let Some((agents, token)) = agents {
        let most = agents::limits(limits.reals);
        tokio::spawn(listener::serve(agents, agents::router(Arc::clone(&director), token), most));
    }
    let doctor = tokio::spawn(examine_every(options.doctor_every, Arc::clone(&director)));
    let end = supervise(&director, socket, metrics, watch, options.config.as_deref()).await;
    doctor.abort();

    // 4. A signal came. By default forwarding survives us.
    finish(&director, &pins, options.detach_on_exit).await?;
    end
}

/// Copies the flows that began, before a crash in a change of sizes, in the maps that were replaced.
fn bring_over(pins: &PinDir, plane: &mut DataPlane) -> Result<(), LoadError> {
    let copied = pins.tables_aside().and_then(|aside| plane.tables().copy_flows(&aside));
    if let Err(error) = copied {
        tracing::warn!(error = chain(&error), "some flows of before the broken resize are lost");
    }
    pins.remove_aside().map_err(LoadError::from)
}

/// Ends the daemon: takes the data plane off, or leaves it and saves the state.
async fn finish(director: &Shared, pins: &PinDir, detach: bool) -> Result<(), Failure> {
    let mut director = director.lock().await;
    if detach {
        // VIPs first: an address that is not the director's is not answered for.
        director.let_go().await;
        director.detach();
        pins.remove_all().map_err(|error| Failure::failed(chain(&error)))?;
        pins.remove_guard().map_err(|error| Failure::failed(chain(&error)))?;
        tracing::info!("detached: nothing is forwarded any more");
    } else {
        if let Err(failure) = director.save_as_is() {
            tracing::error!("{}", failure.message);
        }
        if private::pins_end_with_us() {
            tracing::warn!(
                "stopped: forwarding ends with this mount namespace, whose bpf filesystem has the pins; `xvs detach` takes the VIPs off"
            );
        } else {
            tracing::info!("stopped: forwarding continues; `xvs detach` ends it");
        }
    }
    Ok(())
}

/// Lines that a start writes into the log about what the config file changes.
const CHANGES: usize = 100;

/// Logs what the config file changes at a start: what was added at runtime and is not in the file goes, which is told by name.
fn tell(changes: &[change::Difference]) {
    for change in changes.iter().take(CHANGES) {
        tracing::info!("from the config file: {}", change.done());
    }
    if let more @ 1.. = changes.len().saturating_sub(CHANGES) {
        tracing::info!("and {more} changes more");
    }
}

/// Pins that a start makes, and that go again if it fails. A guard stays: an earlier detach left it, until the maps have the
/// services.
struct Fresh(Option<PinDir>);

impl Fresh {
    /// The start did not fail.
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(|pins| pins.remove_all()) {
            tracing::warn!(error = chain(&error), "the pins of this start could not be removed");
        }
    }
}

/// A file that goes when the daemon does, however it ends.
struct Cleanup(PathBuf);

impl Drop for Cleanup {
    fn drop(&mut self) {
        // It may be gone already: then there is nothing to do.
        drop(std::fs::remove_file(&self.0));
    }
}

/// Serves until a signal ends it or a server breaks.
async fn supervise(
    director: &Shared,
    socket: UnixListener,
    metrics: Option<TcpListener>,
    mut watch: Watch,
    config: Option<&Path>,
) -> Result<(), Failure> {
    let broken = |error: std::io::Error| Failure::failed(format!("a server broke: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(broken)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(broken)?;
    let api = listener::serve(socket, api::router(Arc::clone(director)), api::LIMITS);
    let mut api = tokio::spawn(api);
    if let Some(metrics) = metrics {
        let router = metrics::router(Arc::clone(director));
        tokio::spawn(listener::serve(metrics, router, metrics::LIMITS));
    }
    let (mut refresh, mut sweep) = (interval(REFRESH), interval(SWEEP));
    let mut sample = interval(rates::PERIOD / rates::PARTS);
    sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tracing::info!("ready: {}", director.lock().await.summary());
    // When the network is to be looked at, because something changed. It is kept here, outside of the futures of
    // the loop below: those are dropped when another branch is first, and what they know with them.
    let mut due: Option<Instant> = None;
    let mut dirty = Dirty::default();
    loop {
        let look = due.unwrap_or_else(Instant::now);
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => reload::reload(config, director).await,
            ended = &mut api => {
                let Err(why) = ended;
                return Err(Failure::failed(format!("the API server ended: {why}")));
            }
            change = watch.next() => match change {
                Some(change) if concerns(director, &change) => {
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
                report(director.lock().await.refresh_in_turn().await.map(|()| 0), "network");
            }
            _ = sample.tick() => {
                report(director.lock().await.sample_rates(), "rates");
            }
            _ = sweep.tick() => {
                report(director.lock().await.sweep(), "sweep");
            }
        }
    }
}

/// Has the doctor look again and again: what it finds is in the log, in `xvs status` and in the metrics.
async fn examine_every(period: Duration, director: Shared) {
    if period.is_zero() {
        return;
    }
    loop {
        tokio::time::sleep(period).await;
        report(crate::daemon::examine(&director).await.map(|_| 0), "doctor");
    }
}

/// Whether a change of the network may concern a real. If somebody is busy with the director just now, it may.
fn concerns(director: &Shared, change: &crate::netlink::Change) -> bool {
    director.try_lock().map_or(true, |director| director.concerns(change))
}

fn report(result: Result<usize, Failure>, what: &str) {
    match result {
        Ok(0) => {}
        Ok(count) => tracing::debug!(count, "{what}"),
        Err(failure) => tracing::error!("{what}: {}", failure.message),
    }
}

/// The interfaces that are asked for: flags win over the config.
async fn find_interfaces(
    netlink: &Netlink,
    options: &RunOptions,
    config: &Config,
) -> Result<Vec<Interface>, Failure> {
    let names = if options.interfaces.is_empty() { &config.director.interfaces } else { &options.interfaces };
    if names.is_empty() {
        return Err(Failure::wrong_input("no interface to attach to")
            .hint("name the one that clients' packets come in by: `xvs run -i eth0`"));
    }
    let mut found: Vec<Interface> = Vec::new();
    for name in names {
        let interface = netlink.interface(name).await.map_err(|error| {
            Failure::wrong_input(chain(&error)).hint("`ip -brief link` lists the interfaces")
        })?;
        if found.iter().all(|other| other.index != interface.index) {
            found.push(interface);
        }
    }
    Ok(found)
}

/// Where agents are listened to, and the token that they must show; by flags, or else by the config.
async fn bind_agents(options: &RunOptions, config: &Config) -> Result<Option<(TcpListener, Token)>, Failure> {
    let file = options.api_token_file.as_ref().or(config.director.api_token_file.as_ref());
    match (options.api.or(config.director.api.map(|at| at.0)), file) {
        (Some(address), Some(file)) => {
            let token = Token::read(file)?;
            Ok(Some((agents::bind(address).await?, token)))
        }
        (Some(address), None) => {
            Err(Failure::wrong_input(format!("the API for agents on {address} has no token"))
                .hint("name the file that holds it with --api-token-file, or api-token-file in [director]"))
        }
        (None, _) => Ok(None),
    }
}

async fn bind_metrics(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::failed(format!("cannot serve metrics on {address}: {error}"))
            .hint("is the port in use? `--metrics ADDR:PORT` names another")
    })
}
