// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory of a machine: segments, of which the upper half of an address is the number, and maps in them.

use std::collections::HashMap;

use super::kernel::{ARRAY, KernelMap, PERCPU_ARRAY, PROG_ARRAY, possible_cpus};

/// Where the contents of a segment begin: a pointer may be less, as that to an array's head is.
const START: u64 = 0x1_0000;

/// The memory of a machine.
#[derive(Default)]
pub struct Memory {
    segments: Vec<Vec<u8>>,
}

impl Memory {
    /// Adds a segment, and returns the address of its contents.
    pub fn add(&mut self, contents: Vec<u8>) -> u64 {
        self.segments.push(contents);
        (self.segments.len() as u64) << 32 | START
    }

    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
        let segment = self.segments.get(((address >> 32) as usize).checked_sub(1)?)?;
        let at = usize::try_from((address & 0xffff_ffff).checked_sub(START)?).ok()?;
        segment.get(at..at + length)
    }

    /// Returns bytes.
    #[track_caller]
    pub fn read(&self, address: u64, length: usize) -> &[u8] {
        self.bytes(address, length).unwrap_or_else(|| panic!("nothing is at {address:#x}"))
    }

    /// Returns bytes to be changed.
    #[track_caller]
    pub fn write(&mut self, address: u64, length: usize) -> &mut [u8] {
        assert!(self.bytes(address, length).is_some(), "nothing is at {address:#x}");
        let at = (address & 0xffff_ffff) - START;
        &mut self.segments[(address >> 32) as usize - 1][at as usize..at as usize + length]
    }

    /// Returns a number of up to eight bytes.
    #[track_caller]
    pub fn load(&self, address: u64, length: usize) -> u64 {
        let mut number = [0; 8];
        number[..length].copy_from_slice(self.read(address, length));
        u64::from_le_bytes(number)
    }

    /// Writes a number of up to eight bytes.
    #[track_caller]
    pub fn store(&mut self, address: u64, length: usize, number: u64) {
        self.write(address, length).copy_from_slice(&number.to_le_bytes()[..length]);
    }
}

/// A copy of a map of the kernel.
pub enum Map {
    /// Address of the values of an array; of the pointers to them if each CPU has its own.
    Array(u64),
    /// Addresses of values by key.
    Hash(HashMap<Vec<u8>, u64>),
    /// Numbers of programs by index.
    Programs(KernelMap),
}

/// A map, and the lengths of its keys and values.
pub struct Copy {
    /// The map.
    pub map: Map,
    /// Length of a key in bytes.
    pub key: usize,
    /// Length of a value in bytes.
    pub value: usize,
}

impl Copy {
    /// Copies the map with this id.
    pub fn of(id: u32, memory: &mut Memory) -> Self {
        let kernel = KernelMap::open(id);
        let (key, value) = (kernel.key, kernel.value);
        let stride = value.next_multiple_of(8);
        let map = match kernel.kind {
            ARRAY | PERCPU_ARRAY => {
                let by_cpu = kernel.kind == PERCPU_ARRAY;
                let copies = if by_cpu { possible_cpus() } else { 1 };
                let mut values = Vec::new();
                for index in 0..kernel.entries {
                    let read =
                        kernel.lookup(&index.to_ne_bytes(), copies).expect("an array has all its elements");
                    values.extend_from_slice(&read[..stride]);
                }
                let values = memory.add(values);
                let pointers = (0..u64::from(kernel.entries)).map(|index| values + index * stride as u64);
                Map::Array(if by_cpu {
                    memory.add(pointers.flat_map(u64::to_le_bytes).collect())
                } else {
                    values
                })
            }
            PROG_ARRAY => Map::Programs(kernel),
            _ => {
                let mut entries = HashMap::new();
                let mut last = kernel.next_key(None);
                while let Some(key) = last {
                    if let Some(value) = kernel.lookup(&key, 1) {
                        entries.insert(key.clone(), new_value(memory, &value));
                    }
                    last = kernel.next_key(Some(&key));
                }
                Map::Hash(entries)
            }
        };
        Self { map, key, value }
    }
}

/// The part of an entry of a hash table before its value.
const HEAD: usize = 256;

/// Adds the value of an entry of a hash table; returns its address.
pub fn new_value(memory: &mut Memory, value: &[u8]) -> u64 {
    let mut entry = vec![0; HEAD];
    entry.extend_from_slice(value);
    memory.add(entry) + HEAD as u64
}
