// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs and maps as the running kernel has them, by bpf(2).
#![expect(unsafe_code, reason = "the system call takes pointers to buffers")]

use std::{
    collections::{BTreeMap, HashMap},
    fs, io, iter,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use nix::libc;

/// Commands of bpf(2).
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_DELETE_ELEM: libc::c_long = 3;
const MAP_GET_NEXT_KEY: libc::c_long = 4;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const MAP_GET_FD_BY_ID: libc::c_long = 14;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const MAP_LOOKUP_BATCH: libc::c_long = 24;

/// Kinds of maps (`enum bpf_map_type`).
pub const ARRAY: u32 = 2;
pub const PROG_ARRAY: u32 = 3;
pub const PERCPU_ARRAY: u32 = 6;

/// Calls bpf(2) with attributes in words of eight bytes.
fn bpf(command: libc::c_long, attributes: &mut [u64]) -> io::Result<i32> {
    // SAFETY: the kernel reads these words, and the buffers that their pointers refer to, which the callers size as
    // the kernel expects.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(attributes)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

fn open(command: libc::c_long, id: u32) -> OwnedFd {
    let fd = bpf(command, &mut [id.into(), 0, 0, 0]).expect("the program or map exists");
    // SAFETY: the kernel has just created the descriptor, and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Reads the information on an object into a buffer, whose pointers the kernel follows.
fn info(object: BorrowedFd<'_>, buffer: &mut [u64]) {
    let length = size_of_val(buffer) as u64;
    let word = length << 32 | u64::from(object.as_raw_fd().cast_unsigned());
    let mut attributes = [word, buffer.as_mut_ptr() as u64, 0, 0];
    bpf(OBJ_GET_INFO_BY_FD, &mut attributes).expect("the kernel describes its objects");
}

/// Returns the instructions of a program as they run. Needs the rights of root.
pub fn translated(program: BorrowedFd<'_>) -> Vec<u64> {
    // struct bpf_prog_info: type and id, tag, lengths of compiled and translated code, their addresses.
    let mut about = [0_u64; 6];
    info(program, &mut about);
    let mut instructions = vec![0_u64; (about[2] >> 32) as usize / 8];
    let mut request = [0, 0, about[2] & !0 << 32, 0, instructions.as_mut_ptr() as u64, 0];
    info(program, &mut request);
    instructions
}

/// Returns the instructions of the program with this id.
pub fn translated_by_id(id: u32) -> Vec<u64> {
    use std::os::fd::AsFd as _;
    translated(open(PROG_GET_FD_BY_ID, id).as_fd())
}

/// A map of the kernel.
pub struct KernelMap {
    fd: OwnedFd,
    /// The kind of map (`enum bpf_map_type`).
    pub kind: u32,
    /// Length of a key in bytes.
    pub key: usize,
    /// Length of a value in bytes.
    pub value: usize,
    /// Number of entries that it may have.
    pub entries: u32,
}

impl KernelMap {
    /// Opens the map with this id.
    pub fn open(id: u32) -> Self {
        use std::os::fd::AsFd as _;
        let fd = open(MAP_GET_FD_BY_ID, id);
        // struct bpf_map_info: type, id, lengths of key and value, entries.
        let mut about = [0_u64; 3];
        info(fd.as_fd(), &mut about);
        Self {
            fd,
            kind: about[0] as u32,
            key: (about[1] & 0xffff_ffff) as usize,
            value: (about[1] >> 32) as usize,
            entries: about[2] as u32,
        }
    }

    /// Returns the value of a key, with `copies` values in a row: one for each CPU in a map by CPU.
    pub fn lookup(&self, key: &[u8], copies: usize) -> Option<Vec<u8>> {
        let mut value = vec![0; self.value.next_multiple_of(8) * copies];
        let fd = u64::from(self.fd.as_raw_fd().cast_unsigned());
        let mut attributes = [fd, key.as_ptr() as u64, value.as_mut_ptr() as u64, 0];
        bpf(MAP_LOOKUP_ELEM, &mut attributes).ok().map(|_| value)
    }

    /// Returns the key that follows another one; without one, the first.
    pub fn next_key(&self, key: Option<&[u8]>) -> Option<Vec<u8>> {
        let mut next = vec![0; self.key];
        let fd = u64::from(self.fd.as_raw_fd().cast_unsigned());
        let key = key.map_or(0, |key| key.as_ptr() as u64);
        bpf(MAP_GET_NEXT_KEY, &mut [fd, key, next.as_mut_ptr() as u64, 0]).ok().map(|_| next)
    }
}

/// The contents of a map.
#[derive(Eq, PartialEq)]
pub enum Contents {
    /// The values of an array, in order; of a map by CPU, those of all CPUs.
    Array(Vec<u8>),
    /// The entries of a hash table.
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
}

impl KernelMap {
    /// Returns the number of bytes of an element, with the values of all CPUs.
    fn stride(&self) -> usize {
        let copies = if self.kind == PERCPU_ARRAY { possible_cpus() } else { 1 };
        self.value.next_multiple_of(if self.kind == PERCPU_ARRAY { 8 } else { 1 }) * copies
    }

    /// Returns the values of an array.
    fn elements(&self) -> Vec<u8> {
        let mut keys = vec![0_u32; self.entries as usize];
        let mut values = vec![0_u8; self.stride() * self.entries as usize];
        let mut at = 0_u64;
        let fd = u64::from(self.fd.as_raw_fd().cast_unsigned());
        // struct { in_batch, out_batch, keys, values, count and map, flags of the elements and of the command }
        let mut attributes = [
            0,
            &raw mut at as u64,
            keys.as_mut_ptr() as u64,
            values.as_mut_ptr() as u64,
            fd << 32 | u64::from(self.entries),
            0,
            0,
        ];
        match bpf(MAP_LOOKUP_BATCH, &mut attributes) {
            Ok(_) => {}
            // The end of the map was reached.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => panic!("an array can be read: {error}"),
        }
        assert_eq!(attributes[4] & 0xffff_ffff, u64::from(self.entries), "an array has all its elements");
        values
    }

    /// Returns what the map contains; `None` for a map of programs.
    pub fn contents(&self) -> Option<Contents> {
        match self.kind {
            PROG_ARRAY => None,
            ARRAY | PERCPU_ARRAY => Some(Contents::Array(self.elements())),
            _ => Some(Contents::Hash(
                self.keys()
                    .into_iter()
                    .filter_map(|key| Some((key.clone(), self.lookup(&key, 1)?)))
                    .collect(),
            )),
        }
    }

    /// Returns the keys of a hash table.
    fn keys(&self) -> Vec<Vec<u8>> {
        iter::successors(self.next_key(None), |key| self.next_key(Some(key))).collect()
    }

    /// Writes an element.
    fn update(&self, key: &[u8], value: &[u8]) {
        let fd = u64::from(self.fd.as_raw_fd().cast_unsigned());
        let mut attributes = [fd, key.as_ptr() as u64, value.as_ptr() as u64, 0];
        bpf(MAP_UPDATE_ELEM, &mut attributes).expect("the map takes an element that it had");
    }

    /// Makes the map contain what it contained earlier. No program may run meanwhile.
    pub fn restore(&self, earlier: &Contents) {
        match earlier {
            Contents::Array(earlier) => {
                let now = self.elements();
                let stride = self.stride();
                let elements = earlier.chunks_exact(stride).zip(now.chunks_exact(stride)).zip(0_u32..);
                for ((earlier, _), index) in elements.filter(|((earlier, now), _)| earlier != now) {
                    self.update(&index.to_ne_bytes(), earlier);
                }
            }
            Contents::Hash(earlier) => {
                for key in self.keys() {
                    let fd = u64::from(self.fd.as_raw_fd().cast_unsigned());
                    bpf(MAP_DELETE_ELEM, &mut [fd, key.as_ptr() as u64, 0, 0]).expect("the entry exists");
                }
                for (key, value) in earlier {
                    self.update(key, value);
                }
            }
        }
    }
}

/// Returns the number of possible CPUs: a lookup in a map by CPU returns that many values.
pub fn possible_cpus() -> usize {
    aya::util::nr_cpus().expect("the kernel tells its CPUs")
}

/// Returns the names of the kernel's functions and variables by the distance from the base of calls.
pub fn symbols() -> HashMap<i64, String> {
    let text = fs::read_to_string("/proc/kallsyms").expect("the kernel lists its symbols");
    let all: Vec<(u64, &str)> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            Some((address, words.nth(1)?))
        })
        .collect();
    let base = all.iter().find(|(_, name)| *name == "__bpf_call_base").expect("the kernel has BPF").0;
    assert_ne!(base, 0, "the kernel hides its symbols: see kernel.kptr_restrict");
    all.into_iter().map(|(at, name)| (at.wrapping_sub(base).cast_signed(), name.to_owned())).collect()
}
