// SPDX-License-Identifier: MIT OR Apache-2.0
//! IPv4 settings of an interface, below `/proc/sys/net/ipv4/conf`.
//!
//! For the settings here, the value in force on an interface is the larger of its own value and that of `all`
//! (`IN_DEV_MAXCONF` in include/linux/inetdevice.h).

use std::{fmt, fs, io, path::PathBuf};

use serde::{Deserialize, Serialize};

use lb_model::{command, failure::Failure};

/// Settings that affect the VIP on a real server.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// `arp_ignore`: selects the ARP requests that the host answers.
    ArpIgnore,
    /// `arp_announce`: selects the source address of the host's own ARP requests.
    ArpAnnounce,
    /// `rp_filter`: reverse path filter, by which a packet's source must be reachable through its ingress interface.
    RpFilter,
}

impl Name {
    /// All settings.
    pub const ALL: [Self; 3] = [Self::ArpIgnore, Self::ArpAnnounce, Self::RpFilter];
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ArpIgnore => "arp_ignore",
            Self::ArpAnnounce => "arp_announce",
            Self::RpFilter => "rp_filter",
        })
    }
}

/// One setting of one interface, or of `all` of them. It is displayed as sysctl(8) names it.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Sysctl {
    /// Name of the interface, or `all`.
    pub interface: String,
    /// Setting.
    pub name: Name,
}

/// A setting cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {sysctl}: {reason}")]
pub struct SysctlError {
    /// Operation: `read` or `set`.
    doing: &'static str,
    sysctl: Sysctl,
    reason: io::Error,
}

impl SysctlError {
    /// Returns whether the setting does not exist, because the interface is gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.reason.kind() == io::ErrorKind::NotFound
    }
}

impl From<SysctlError> for Failure {
    fn from(error: SysctlError) -> Self {
        let failure = Self::failed(error.to_string());
        match error.reason.kind() {
            io::ErrorKind::PermissionDenied => failure.hint("run as root, or with CAP_NET_ADMIN"),
            io::ErrorKind::ReadOnlyFilesystem => {
                failure.hint("/proc/sys is read-only, as in most containers: set it from the host")
            }
            io::ErrorKind::NotFound => failure.hint("is the interface still there, and is IPv4 on?"),
            _ => failure,
        }
    }
}

impl Sysctl {
    /// Returns the setting `name` of `interface`.
    pub fn new(interface: impl Into<String>, name: Name) -> Self {
        Self { interface: interface.into(), name }
    }

    /// Returns this interface's own value.
    pub fn read(&self) -> Result<i32, SysctlError> {
        let parsed = fs::read_to_string(self.path()).and_then(|text| {
            text.trim()
                .parse()
                .map_err(|_| io::Error::other(format!("it holds {text:?}, which is no number")))
        });
        parsed.map_err(|reason| self.error("read", reason))
    }

    /// Returns the value in force on the interface.
    pub fn in_force(&self) -> Result<i32, SysctlError> {
        Ok(self.read()?.max(self.of_all().read()?))
    }

    /// Returns this interface's own value; `None` if there is no such setting, because there is no such
    /// interface.
    pub fn read_if_there(&self) -> Result<Option<i32>, SysctlError> {
        match self.read() {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the error for a setting that does not exist.
    #[must_use]
    pub fn is_missing(&self) -> SysctlError {
        self.error("read", io::Error::from_raw_os_error(libc::ENOENT))
    }

    /// Sets this interface's own value.
    pub fn write(&self, value: i32) -> Result<(), SysctlError> {
        fs::write(self.path(), value.to_string()).map_err(|reason| self.error("set", reason))
    }

    /// Returns the same setting of `all` interfaces.
    #[must_use]
    pub fn of_all(&self) -> Self {
        Self::new("all", self.name)
    }

    /// Returns the command that sets this interface's own value.
    #[must_use]
    pub fn command(&self, value: i32) -> String {
        command::line(&["sysctl", "-w", &format!("{self}={value}")])
    }

    fn path(&self) -> PathBuf {
        ["/proc/sys/net/ipv4/conf", &self.interface, &self.name.to_string()].iter().collect()
    }

    fn error(&self, doing: &'static str, reason: io::Error) -> SysctlError {
        SysctlError { doing, sysctl: self.clone(), reason }
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // sysctl(8) writes dots in a name such as eth0.10 as slashes.
        write!(f, "net.ipv4.conf.{}.{}", self.interface.replace('.', "/"), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlans_dot_is_no_separator() {
        let sysctl = Sysctl::new("eth0.10", Name::ArpIgnore);
        assert_eq!(sysctl.to_string(), "net.ipv4.conf.eth0/10.arp_ignore");
        assert_eq!(sysctl.path().to_str(), Some("/proc/sys/net/ipv4/conf/eth0.10/arp_ignore"));
    }
}
