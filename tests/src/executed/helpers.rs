// SPDX-License-Identifier: MIT OR Apache-2.0
//! The functions of the kernel that the programs call.

use super::{
    machine::{DATA, DATA_END, Machine, map_of},
    memory::{Map, new_value},
};

/// How a program goes on after a call.
pub enum Next {
    /// The result of the function.
    Continue(u64),
    /// The id of another program, which continues.
    Program(u32),
}

/// The result of a call that failed.
const ERROR: u64 = u64::MAX;
/// The XDP action of a redirected frame.
const REDIRECT: u64 = 4;

impl Machine {
    /// Calls a function of the kernel. `to_value` is what the program adds to an entry of a hash table.
    pub(super) fn call(&mut self, name: &str, args: [u64; 5], to_value: i32) -> Next {
        let [a, b, c, _, e] = args;
        Next::Continue(match name {
            "__htab_map_lookup_elem" => {
                let (_, found) = self.find(a, b);
                found.map_or(0, |value| value.wrapping_sub(i64::from(to_value).cast_unsigned()))
            }
            "tail_call" => {
                let map = map_of(b);
                let Map::Programs(programs) = &self.maps[&map].map else {
                    panic!("map {map} has no programs")
                };
                match programs.lookup(&(c as u32).to_ne_bytes(), 1) {
                    Some(id) => return Next::Program(u32::from_ne_bytes([id[0], id[1], id[2], id[3]])),
                    None => ERROR,
                }
            }
            "htab_map_update_elem" | "htab_lru_map_update_elem" => {
                let (key, found) = self.find(a, b);
                let map = map_of(a);
                let value = self.memory.read(c, self.maps[&map].value).to_vec();
                match found {
                    Some(_) if args[3] == 1 => return Next::Continue(ERROR),
                    Some(at) => self.memory.write(at, value.len()).copy_from_slice(&value),
                    None => {
                        let at = new_value(&mut self.memory, &value);
                        if let Map::Hash(entries) = &mut self.maps.get_mut(&map).expect("it was found").map {
                            entries.insert(key, at);
                        }
                    }
                }
                0
            }
            "htab_map_delete_elem" | "htab_lru_map_delete_elem" => {
                let (key, found) = self.find(a, b);
                let map = map_of(a);
                if let Map::Hash(entries) = &mut self.maps.get_mut(&map).expect("it was found").map {
                    entries.remove(&key);
                }
                if found.is_some() { 0 } else { ERROR }
            }
            "dev_hash_map_redirect" => REDIRECT,
            "bpf_xdp_adjust_head" => self.shift(DATA, b as u32),
            "bpf_xdp_adjust_tail" => self.shift(DATA_END, b as u32),
            "bpf_csum_diff" => {
                let sum = self.memory.read(c, args[3] as usize).chunks(4).fold(e, |sum, word| {
                    let sum = sum + u64::from(u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
                    (sum & 0xffff_ffff) + (sum >> 32)
                });
                // The kernel folds to 16 bits, which is the same sum.
                let sum = (sum & 0xffff) + (sum >> 16);
                (sum & 0xffff) + (sum >> 16)
            }
            "bpf_ktime_get_coarse_ns" => 1 << 40,
            "bpf_user_rnd_u32" | "bpf_get_prandom_u32" => 0x1234_5678,
            other => panic!("{other} is not done here"),
        })
    }

    fn find(&self, map: u64, key: u64) -> (Vec<u8>, Option<u64>) {
        let map = map_of(map);
        let copy = &self.maps[&map];
        let key = self.memory.read(key, copy.key).to_vec();
        let Map::Hash(entries) = &copy.map else { panic!("map {map} is no hash table") };
        let found = entries.get(&key).copied();
        (key, found)
    }

    /// Moves an end of the frame.
    fn shift(&mut self, end: u64, by: u32) -> u64 {
        let at = self.context + end;
        let moved = self.memory.load(at, 8).wrapping_add(i64::from(by.cast_signed()).cast_unsigned());
        self.memory.store(at, 8, moved);
        0
    }
}
