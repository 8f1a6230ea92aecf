// SPDX-License-Identifier: MIT OR Apache-2.0
//! Execution of ipvsadm commands.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal as _, Read, Write},
    net::IpAddr,
};

use super::{
    Name, connections, daemons, help,
    kernel::Kernel,
    names::{Names, System},
    order::{Order, What},
    page::{self, Format},
    parse::parse,
    restore, rules,
    trouble::Trouble,
};
use crate::api::{
    client::Api,
    ipvs::{BatchDone, Table},
    types::{Change, ServiceView},
};
use lb_model::failure::{ErrorCode, Failure};
use lb_model::{RealAddress, ServiceId};

/// Executes a command line; `words` are those after the name of the program. Returns the exit code.
pub async fn run(name: Name, program: &str, words: &[String], api: &Api) -> u8 {
    let warnings = io::stderr().is_terminal();
    let mut session = Session {
        program,
        kernel: api,
        names: System::new(),
        stdin: io::stdin(),
        out: io::stdout(),
        err: io::stderr(),
        warnings,
    };
    session.run(name, words).await
}

/// A command line with its inputs and outputs.
pub(crate) struct Session<'a, K, N, R, O, E> {
    /// Name by which the program was called.
    pub(crate) program: &'a str,
    /// Table that is read and changed.
    pub(crate) kernel: &'a K,
    pub(crate) names: N,
    pub(crate) stdin: R,
    pub(crate) out: O,
    pub(crate) err: E,
    /// Shows warnings of the daemon. ipvsadm prints nothing on success, and scripts take output on stderr for
    /// an error.
    pub(crate) warnings: bool,
}

/// A requested change, and its line.
struct Asked {
    order: Order,
    line: Option<String>,
}

impl Asked {
    const fn plain(order: Order) -> Self {
        Self { order, line: None }
    }
}

impl<K: Kernel, N: Names, R: Read, O: Write, E: Write> Session<'_, K, N, R, O, E> {
    /// Executes the command line. Returns the exit code.
    pub(crate) async fn run(&mut self, name: Name, words: &[String]) -> u8 {
        let mut notes = Vec::new();
        let outcome = match name {
            Name::Ipvsadm => match parse(words, &self.names, &mut notes) {
                Ok(order) => self.carry_out(order).await,
                Err(trouble) => Err(trouble),
            },
            Name::Save if words.iter().any(|word| word.starts_with('-') && word != "-n") => {
                self.say(help::SAVE);
                return 1;
            }
            Name::Save => {
                let format = Format { numeric: words.iter().any(|word| word == "-n"), ..Format::default() };
                self.carry_out(Order::Save(format)).await
            }
            Name::Restore => self.restore(vec![Asked::plain(Order::Clear)]).await,
        };
        for note in notes {
            self.say(&note);
        }
        match outcome {
            Ok(code) => code,
            Err(trouble) => {
                self.say(&trouble.text(self.program));
                trouble.exit_code()
            }
        }
    }

    async fn carry_out(&mut self, order: Order) -> Result<u8, Trouble> {
        let page = match order {
            Order::Help => help::help(),
            Order::Version => help::version(),
            Order::List(what, format) => self.list(what, format).await?,
            Order::Save(format) => {
                let services = self.table(None).await?.services;
                if !format.numeric {
                    self.names.look_up(services.iter().flat_map(|shown| addresses(&shown.service)).collect());
                }
                rules::save(services, format, &self.names)
            }
            Order::Zero(service) => {
                let zeroed = self.kernel.zero(service).await;
                zeroed.map_err(|failure| Trouble::of(Order::Zero(service).verb(), failure))?;
                String::new()
            }
            Order::SetTimeouts(options) => {
                self.kernel.set_timeouts(&options).await.map(|()| String::new())?
            }
            order @ (Order::StartDaemon(..) | Order::StopDaemon(_)) => {
                let verb = order.verb();
                let changed = self.kernel.change_daemon(&daemons::change(order)).await;
                changed.map(|()| String::new()).map_err(|failure| Trouble::of(verb, failure))?
            }
            Order::Restore => return Box::pin(self.restore(Vec::new())).await,
            order => return self.changes(vec![Asked::plain(order)]).await,
        };
        match self.out.write_all(page.as_bytes()).and_then(|()| self.out.flush()) {
            // A closed pipe is not an error.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::failed(format!("cannot write to stdout: {error}")).into())
            }
            _ => Ok(0),
        }
    }

    async fn list(&mut self, what: What, format: Format) -> Result<String, Trouble> {
        Ok(match what {
            What::Timeouts => {
                let timeouts = self.kernel.timeouts().await?;
                format!("Timeout (tcp tcpfin udp): {} {} {}\n", timeouts.tcp, timeouts.tcp_fin, timeouts.udp)
            }
            What::Daemons => daemons::list(&self.kernel.daemons().await?),
            What::Connections => {
                let list = self.kernel.connections().await?;
                if !format.numeric {
                    let places = list.iter().flat_map(|c| [c.client, c.service, c.real]);
                    self.names.look_up(places.map(|place| place.ip()).collect());
                }
                connections::list(&list, format, &self.names)
            }
            What::All | What::Service(_) => {
                let which = if let What::Service(id) = what { Some(id) } else { None };
                let Table { size, services } = self.table(which).await?;
                if !format.numeric {
                    self.names.look_up(services.iter().flat_map(|shown| addresses(&shown.service)).collect());
                }
                page::list(which.is_none().then_some(size), services, format, &self.names)
            }
        })
    }

    async fn table(&self, service: Option<ServiceId>) -> Result<Table, Trouble> {
        let order = Order::List(What::All, Format::default());
        self.kernel.table(service).await.map_err(|failure| Trouble::of(order.verb(), failure))
    }

    /// Executes the commands of stdin after those of `before`. Adjacent changes become one step, so that a
    /// table is never half replaced.
    ///
    /// If a line cannot be parsed, the input is not a list of rules: nothing is changed. A rule that is
    /// parsed and refused is reported, and the others are executed.
    async fn restore(&mut self, before: Vec<Asked>) -> Result<u8, Trouble> {
        let mut bytes = Vec::new();
        self.stdin
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::wrong_input(format!("cannot read stdin: {error}")))?;
        let mut orders: Vec<Result<Asked, Trouble>> = before.into_iter().map(Ok).collect();
        for line in restore::read(&String::from_utf8_lossy(&bytes), &self.names) {
            let place = format!("line {}: {}", line.number, line.text);
            for note in &line.notes {
                self.say(&format!("{note}\nhint: {place}"));
            }
            match line.order {
                Ok(order) => orders.push(Ok(Asked { order, line: Some(place) })),
                Err(trouble) if trouble.is_of_the_rule() => {
                    orders.push(Err(trouble.at(&format!("{place}; the other rules are restored"))));
                }
                Err(trouble) => {
                    let trouble = trouble.at(&format!("{place}; nothing was changed"));
                    self.say(&trouble.text(self.program));
                    return Ok(trouble.exit_code());
                }
            }
        }
        let (mut code, mut pending) = (0, Vec::new());
        for asked in orders {
            let asked = match asked {
                Ok(asked) => asked,
                Err(trouble) => {
                    self.say(&trouble.text(self.program));
                    code = first(code, trouble.exit_code());
                    continue;
                }
            };
            match asked.order {
                Order::Restore => return Err(Trouble::Help),
                Order::List(..)
                | Order::Save(_)
                | Order::Zero(_)
                | Order::SetTimeouts(_)
                | Order::StartDaemon(..)
                | Order::StopDaemon(_) => {
                    code = first(code, self.changes(std::mem::take(&mut pending)).await?);
                    code = first(code, Box::pin(self.carry_out(asked.order)).await?);
                }
                _ => pending.push(asked),
            }
        }
        Ok(first(code, self.changes(pending).await?))
    }

    /// Makes changes in one step, and reports those that were refused.
    async fn changes(&mut self, asked: Vec<Asked>) -> Result<u8, Trouble> {
        if asked.is_empty() {
            return Ok(0);
        }
        let wanted: Vec<Change> = asked.iter().filter_map(|asked| asked.order.change()).collect();
        let verb = asked[0].order.verb();
        let done = self.kernel.change(&wanted).await;
        let BatchDone { refused, warnings } = done.map_err(|failure| Trouble::of(verb, failure))?;
        let mut code = 0;
        for ((asked, change), refused) in asked.iter().zip(&wanted).zip(refused) {
            let Some(mut failure) = refused else { continue };
            if let Some(again) = named_otherwise(change, &failure) {
                let done = self.kernel.change(&[again]).await?;
                match done.refused.into_iter().next().flatten() {
                    Some(other) => failure = other,
                    None => continue,
                }
            }
            let trouble = Trouble::of(asked.order.verb(), failure);
            let trouble = match &asked.line {
                Some(line) => trouble.at(line),
                None => trouble,
            };
            self.say(&trouble.text(self.program));
            code = first(code, trouble.exit_code());
        }
        if self.warnings {
            for warning in warnings {
                tracing::warn!("{warning}");
            }
        }
        Ok(code)
    }

    /// Writes a line to stderr.
    fn say(&mut self, text: &str) {
        // An error of stderr cannot be reported anywhere.
        drop(writeln!(self.err, "{text}"));
    }
}

/// Returns the exit code of several commands: that of the first that failed.
const fn first(before: u8, code: u8) -> u8 {
    if before == 0 { code } else { before }
}

fn addresses(service: &ServiceView) -> BTreeSet<IpAddr> {
    let vip = service.id.endpoint().map(|endpoint| endpoint.address.ip());
    service.reals.iter().map(|real| real.address.ip()).chain(vip).collect()
}

/// Returns a variant of a refused change that may match: a group that `xvs service add` made has one service
/// for both IP versions, and its reals may have been added without a port.
fn named_otherwise(change: &Change, failure: &Failure) -> Option<Change> {
    let mut again = change.clone();
    let (Change::EditService { service, .. }
    | Change::RemoveService { service }
    | Change::AddReal { service, .. }
    | Change::EditReal { service, .. }
    | Change::RemoveReal { service, .. }) = &mut again
    else {
        return None;
    };
    let ServiceId::Group { group, ipv6 } = *service else { return None };
    match (failure.cause?, ipv6) {
        (ErrorCode::NoService, true) => *service = ServiceId::group(group),
        (ErrorCode::NoReal, _) => {
            let (Change::EditReal { real, .. } | Change::RemoveReal { real, .. }) = &mut again else {
                return None;
            };
            if real.port == Some(0) {
                return None;
            }
            *real = RealAddress { port: Some(0), ..*real };
        }
        _ => return None,
    }
    Some(again)
}
