// SPDX-License-Identifier: MIT OR Apache-2.0
//! Carries commands of ipvsadm out.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal as _},
    net::{IpAddr, SocketAddr, UdpSocket},
};

use super::{
    Name, connections, help,
    names::{Names, System},
    page::{self, Format},
    parse::{Order, What, parse},
    restore, rules,
    trouble::Trouble,
};
use crate::{
    api::{
        client::Api,
        ipvs::{BatchDone, Table, Which},
        types::{Change, Connection, Done, Status},
    },
    cli::ui::{Output, Ui, say},
    control::{
        model::{Forward, RealAddress, ServiceId},
        options::RealOptions,
    },
    failure::{Cause, Failure},
};

/// Carries out a command line; `words` are those after the name of the program. Returns the exit code.
pub async fn run(name: Name, words: &[String], api: &Api) -> u8 {
    let mut names = System::new();
    let outcome = match name {
        Name::Ipvsadm => match parse(words, &names) {
            Ok(order) => carry_out(order, api, &mut names).await,
            Err(trouble) => Err(trouble),
        },
        Name::Save if words.iter().any(|word| word.starts_with('-') && word != "-n") => {
            say(help::SAVE);
            return 1;
        }
        Name::Save => {
            let format = Format { numeric: words.iter().any(|word| word == "-n"), ..Format::default() };
            carry_out(Order::Save(format), api, &mut names).await
        }
        Name::Restore => restore(vec![Asked::plain(Order::Clear)], api, &names).await,
    };
    match outcome {
        Ok(code) => code,
        Err(trouble) => {
            say(&trouble);
            trouble.exit_code()
        }
    }
}

async fn carry_out(order: Order, api: &Api, names: &mut System) -> Result<u8, Trouble> {
    let page = match order {
        Order::Help => help::help(),
        Order::Version => help::version(),
        Order::List(what, format) => list(what, format, api, names).await?,
        Order::Save(format) => {
            let services = table(None, api).await?.services;
            if !format.numeric {
                names.ask_for(services.iter().flat_map(|shown| addresses(&shown.service)).collect());
            }
            rules::save(services, format, names)
        }
        Order::Zero(service) => {
            let zeroed: Result<(), Failure> = api.post("/v1/zero", &Which { service }).await;
            zeroed.map_err(|failure| Trouble::of(Order::Zero(service).verb(), failure))?;
            String::new()
        }
        Order::SetTimeouts(options) => {
            api.post::<Done>("/v1/timeouts", &options).await.map(|_| String::new())?
        }
        Order::StopDaemon => return Err(Trouble::kernel("No daemon is running")),
        Order::Restore => return restore(Vec::new(), api, names).await,
        order => return changes(vec![Asked::plain(order)], api).await,
    };
    Ui::new(Output::Table).show(&page, Clone::clone)?;
    Ok(0)
}

async fn list(what: What, format: Format, api: &Api, names: &mut System) -> Result<String, Trouble> {
    Ok(match what {
        What::Timeouts => {
            let timeouts = api.get::<Status>("/v1/status").await?.timeouts;
            format!("Timeout (tcp tcpfin udp): {} {} {}\n", timeouts.tcp, timeouts.tcp_fin, timeouts.udp)
        }
        // None runs, and ipvsadm says nothing then.
        What::Daemons => String::new(),
        What::Connections => {
            let list: Vec<Connection> = api.get("/v1/connections").await?;
            if !format.numeric {
                let places = list.iter().flat_map(|c| [c.client, c.service, c.real]);
                names.ask_for(places.map(|place| place.ip()).collect());
            }
            connections::list(&list, format, names)
        }
        What::All | What::Service(_) => {
            let which = if let What::Service(id) = what { Some(id) } else { None };
            let Table { size, services } = table(which, api).await?;
            if !format.numeric {
                names.ask_for(services.iter().flat_map(|shown| addresses(&shown.service)).collect());
            }
            page::list(which.is_none().then_some(size), services, format, names)
        }
    })
}

async fn table(service: Option<ServiceId>, api: &Api) -> Result<Table, Trouble> {
    let order = Order::List(What::All, Format::default());
    let table = api.post("/v1/ipvs", &Which { service }).await;
    table.map_err(|failure| Trouble::of(order.verb(), failure))
}

fn addresses(service: &crate::api::types::ServiceView) -> BTreeSet<IpAddr> {
    let vip = service.id.endpoint().map(|endpoint| endpoint.address.ip());
    service.reals.iter().map(|real| real.address.ip()).chain(vip).collect()
}

/// A change that was asked for, and in which line.
struct Asked {
    order: Order,
    line: Option<String>,
}

impl Asked {
    const fn plain(order: Order) -> Self {
        Self { order, line: None }
    }
}

/// Carries out the commands of stdin after those of `before`: changes that follow each other become one step, so
/// that a table is replaced without a moment in which half of it is there.
async fn restore(before: Vec<Asked>, api: &Api, names: &dyn Names) -> Result<u8, Trouble> {
    let text = io::read_to_string(io::stdin())
        .map_err(|error| Failure::wrong_input(format!("cannot read stdin: {error}")))?;
    let mut orders = before;
    for line in restore::read(&text, names) {
        let place = format!("line {}: {}", line.number, line.text);
        match line.order {
            Ok(order) => orders.push(Asked { order, line: Some(place) }),
            Err(trouble) => {
                say(format_args!("{trouble}\nhint: {place}; nothing was changed"));
                return Ok(trouble.exit_code());
            }
        }
    }
    let (mut code, mut pending) = (0, Vec::new());
    for asked in orders {
        match asked.order {
            Order::Restore => return Err(Trouble::try_help()),
            Order::List(..) | Order::Save(_) | Order::Zero(_) | Order::SetTimeouts(_) | Order::StopDaemon => {
                code = code.max(changes(std::mem::take(&mut pending), api).await?);
                code = code.max(Box::pin(carry_out(asked.order, api, &mut System::new())).await?);
            }
            _ => pending.push(asked),
        }
    }
    Ok(code.max(changes(pending, api).await?))
}

/// Makes changes in one step, and says which were refused.
async fn changes(asked: Vec<Asked>, api: &Api) -> Result<u8, Trouble> {
    if asked.is_empty() {
        return Ok(0);
    }
    let wanted: Vec<Change> = asked.iter().filter_map(|asked| change(&asked.order)).collect();
    let verb = asked[0].order.verb();
    let done: Result<BatchDone, Failure> = api.post("/v1/batch", &wanted).await;
    let BatchDone { mut refused, warnings } = done.map_err(|failure| Trouble::of(verb, failure))?;
    for ((asked, change), refused) in asked.iter().zip(&wanted).zip(&mut refused) {
        if let Some(again) = without_port(change, refused.as_ref()) {
            let done: BatchDone = api.post("/v1/batch", &[again]).await?;
            *refused = done.refused.into_iter().next().flatten();
        }
        let Some(failure) = refused.take() else { continue };
        say(Trouble::of(asked.order.verb(), failure.clone()));
        if let Some(line) = &asked.line {
            say(format_args!("hint: {line}"));
        }
        *refused = Some(failure);
    }
    // ipvsadm is silent when it has done what it was asked: scripts take words on stderr for trouble.
    if io::stderr().is_terminal() {
        for warning in warnings {
            tracing::warn!("{warning}");
        }
    }
    let trouble = asked.iter().zip(refused).find_map(|(asked, refused)| Some((asked, refused?)));
    Ok(trouble.map_or(0, |(asked, failure)| Trouble::of(asked.order.verb(), failure).exit_code()))
}

/// The reals of a group for direct routing have no port here, whatever ipvsadm was told when they were added.
fn without_port(change: &Change, refused: Option<&Failure>) -> Option<Change> {
    match (change, refused?.cause) {
        (Change::RemoveReal { service: service @ ServiceId::Group { .. }, real }, Some(Cause::NoReal))
            if real.port != Some(0) =>
        {
            Some(Change::RemoveReal { service: *service, real: RealAddress { port: Some(0), ..*real } })
        }
        _ => None,
    }
}

fn change(order: &Order) -> Option<Change> {
    let mut change = order.change()?;
    if let Change::AddReal { service, real, options } | Change::EditReal { service, real, options } =
        &mut change
    {
        *options = local(*service, *real, *options);
    }
    Some(change)
}

/// IPVS hands packets for a real whose address is the director's own to the director itself, whatever method was
/// asked for.
fn local(service: ServiceId, real: RealAddress, options: RealOptions) -> RealOptions {
    if is_vip(&service, &real) || is_of_this_host(real.ip) {
        return RealOptions { forward: Some(Forward::Local), ..options };
    }
    options
}

/// Whether a real is the director itself, whichever host that is.
#[must_use]
pub fn is_vip(service: &ServiceId, real: &RealAddress) -> bool {
    service.endpoint().is_some_and(|endpoint| endpoint.address.ip() == real.ip)
}

/// A socket towards one's own address has it as its own. Nothing is sent.
fn is_of_this_host(ip: IpAddr) -> bool {
    let towards = || {
        let socket = UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], 0)))?;
        socket.connect((ip, 9))?;
        socket.local_addr()
    };
    towards().is_ok_and(|own: SocketAddr| own.ip() == ip)
}
