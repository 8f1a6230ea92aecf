// SPDX-License-Identifier: MIT OR Apache-2.0
//! The BPF machine (RFC 9669), as far as the programs use it.

use std::{collections::HashMap, os::fd::BorrowedFd, rc::Rc};

use super::{
    helpers::Next,
    kernel,
    memory::{Copy, Map, Memory},
};

/// Bytes before the frame that a program may use.
const HEADROOM: usize = 256;
/// Bytes of a stack frame.
const STACK: usize = 512;
/// Offsets in `struct xdp_buff`.
pub const DATA: u64 = 0;
pub const DATA_END: u64 = 8;

/// What a program has done with one packet.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Executed {
    /// Number of instructions. A load of 64 bits is one.
    pub instructions: u32,
    /// Number of lookups in arrays, whose instructions are inlined and counted.
    pub arrays: u32,
    /// The functions of the kernel that were called.
    pub calls: Vec<String>,
    /// The XDP action.
    pub action: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// One instruction.
#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    target: usize,
    source: usize,
    offset: i16,
    number: i32,
}

impl Instruction {
    const fn new(word: u64) -> Self {
        Self {
            code: word as u8,
            target: (word >> 8 & 0xf) as usize,
            source: (word >> 12 & 0xf) as usize,
            offset: (word >> 16) as i16,
            number: (word >> 32) as i32,
        }
    }
}

/// How a function begins.
#[derive(Clone, Copy)]
struct Entry {
    /// Index of its first instruction.
    at: usize,
    /// Number of its callers.
    depth: usize,
    /// Its arguments, of which no entry has more.
    args: [u64; 2],
}

/// A caller that a function returns to.
struct Caller {
    at: usize,
    saved: [u64; 4],
    stack: u64,
}

/// A machine with a program, and copies of its maps.
pub struct Machine {
    program: Rc<[u64]>,
    programs: HashMap<u32, Rc<[u64]>>,
    symbols: HashMap<i64, String>,
    pub(super) memory: Memory,
    pub(super) maps: HashMap<u32, Copy>,
    /// Address of the argument of the program.
    pub(super) context: u64,
    stacks: Vec<u64>,
    ifindex: u32,
}

/// Begins the number that stands for a map as an argument of a function.
const MAP: u64 = 0x4d41_5000_0000_0000;

impl Machine {
    /// Creates a machine that runs a program of the kernel, for frames from the interface with this index.
    #[must_use]
    pub fn new(program: BorrowedFd<'_>, ifindex: u32) -> Self {
        Self {
            program: kernel::translated(program).into(),
            programs: HashMap::new(),
            symbols: kernel::symbols(),
            memory: Memory::default(),
            maps: HashMap::new(),
            context: 0,
            stacks: Vec::new(),
            ifindex,
        }
    }

    /// Runs the program on a frame.
    pub fn run(&mut self, frame: &[u8]) -> Executed {
        let mut packet = vec![0; HEADROOM];
        packet.extend_from_slice(frame);
        packet.resize(packet.len() + HEADROOM, 0);
        let data = self.memory.add(packet) + HEADROOM as u64;
        // Of a device, programs read the index of the interface only.
        let device = self.memory.add(self.ifindex.to_le_bytes().repeat(1024));
        let queue = self.memory.add(device.to_le_bytes().to_vec());
        // struct xdp_buff: data, data_end, data_meta, data_hard_start, rxq, txq
        let context = [data, data + frame.len() as u64, data, data - HEADROOM as u64, queue, 0];
        self.context = self.memory.add(context.iter().flat_map(|word| word.to_le_bytes()).collect());
        let mut executed = Executed::default();
        let mut program = Rc::clone(&self.program);
        executed.action = loop {
            match self.execute(&program, Entry { at: 0, depth: 0, args: [self.context, 0] }, &mut executed) {
                Ok(action) => break action as u32,
                Err(other) => {
                    let load = || kernel::translated_by_id(other).into();
                    program = Rc::clone(self.programs.entry(other).or_insert_with(load));
                }
            }
        };
        let (start, end) =
            (self.memory.load(self.context + DATA, 8), self.memory.load(self.context + DATA_END, 8));
        executed.frame = self.memory.read(start, (end - start) as usize).to_vec();
        executed
    }

    fn stack(&mut self, depth: usize) -> u64 {
        if self.stacks.len() == depth {
            let stack = self.memory.add(vec![0; STACK]);
            self.stacks.push(stack);
        }
        self.stacks[depth] + STACK as u64
    }

    /// Runs a function; returns its result, or the id of the program that continues.
    fn execute(&mut self, program: &[u64], entry: Entry, executed: &mut Executed) -> Result<u64, u32> {
        let mut r = [0_u64; 11];
        [r[1], r[2]] = entry.args;
        r[10] = self.stack(entry.depth);
        let mut callers: Vec<Caller> = Vec::new();
        let mut at = entry.at;
        loop {
            let word = program[at];
            let i = Instruction::new(word);
            executed.instructions += 1;
            let value = if i.code & 0x08 == 0 { i64::from(i.number).cast_unsigned() } else { r[i.source] };
            let next = at + 1;
            at = next;
            match i.code & 7 {
                0 => {
                    at += 1;
                    r[i.target] = self.immediate(program, next - 1, executed);
                }
                1 => {
                    let from = r[i.source].wrapping_add(i64::from(i.offset).cast_unsigned());
                    r[i.target] = if from >> 63 == 1 { NOW } else { self.memory.load(from, length(i.code)) };
                    if i.code >> 5 == 4 {
                        let unused = 64 - 8 * length(i.code) as u32;
                        r[i.target] = ((r[i.target] << unused).cast_signed() >> unused).cast_unsigned();
                    }
                }
                2 if i.code == 0xc2 => {} // a barrier against speculation
                2 | 3 => {
                    let to = r[i.target].wrapping_add(i64::from(i.offset).cast_unsigned());
                    let length = length(i.code);
                    if i.code >> 5 == 6 {
                        self.atomic(&mut r, &i, to, length);
                    } else {
                        let value =
                            if i.code & 7 == 2 { i64::from(i.number).cast_unsigned() } else { r[i.source] };
                        self.memory.store(to, length, value);
                    }
                }
                4 if i.code >> 4 == 0xd => r[i.target] = swapped(&i, r[i.target]),
                4 => r[i.target] = arithmetic32(&i, r[i.target] as u32, value as u32),
                7 => r[i.target] = arithmetic64(&i, r[i.target], value),
                _ => match i.code {
                    0x05 => at = jump(next, i.offset.into()),
                    0x06 => at = jump(next, i.number),
                    0x85 if i.source == 1 => {
                        callers.push(Caller { at: next, saved: [r[6], r[7], r[8], r[9]], stack: r[10] });
                        r[10] = self.stack(entry.depth + callers.len());
                        at = jump(next, i.offset.into());
                    }
                    0x85 => {
                        let symbol = (i.number != 12).then(|| {
                            let symbol = self.symbols.get(&i64::from(i.number));
                            symbol.unwrap_or_else(|| panic!("no function is at {}", i.number)).clone()
                        });
                        let name = symbol.unwrap_or_else(|| "tail_call".to_owned());
                        // What is added to an entry of a hash table for the address of its value.
                        let to_value = program[next..].iter().take(6).map(|word| Instruction::new(*word));
                        let to_value =
                            to_value.filter(|i| i.code == 0x07 && i.target == 0).map(|i| i.number).next();
                        if name == "bpf_loop" {
                            let depth = entry.depth + callers.len() + 1;
                            executed.calls.push(name);
                            for round in 0..r[1] {
                                let entry = Entry { at: r[2] as usize, depth, args: [round, r[3]] };
                                if self.execute(program, entry, executed)? != 0 {
                                    break;
                                }
                            }
                            continue;
                        }
                        let args = [r[1], r[2], r[3], r[4], r[5]];
                        let result = self.call(&name, args, to_value.unwrap_or(0));
                        executed.calls.push(name);
                        match result {
                            Next::Continue(result) => r[0] = result,
                            Next::Program(id) => return Err(id),
                        }
                    }
                    0x95 => match callers.pop() {
                        Some(caller) => {
                            at = caller.at;
                            r[6..10].copy_from_slice(&caller.saved);
                            r[10] = caller.stack;
                        }
                        None => return Ok(r[0]),
                    },
                    _ => {
                        if holds(&i, r[i.target], value) {
                            at = jump(next, i.offset.into());
                        }
                    }
                },
            }
        }
    }

    /// Returns the operand of a load of 64 bits.
    fn immediate(&mut self, program: &[u64], at: usize, executed: &mut Executed) -> u64 {
        let i = Instruction::new(program[at]);
        let high = program[at + 1] >> 32;
        let id = i.number.cast_unsigned();
        match i.source {
            0 => high << 32 | u64::from(id),
            4 => jump(at + 1, i.number) as u64,
            _ => {
                let memory = &mut self.memory;
                let copy = self.maps.entry(id).or_insert_with(|| Copy::of(id, memory));
                match copy.map {
                    Map::Array(values) if i.source == 2 => values + high,
                    Map::Array(values) => {
                        executed.arrays += 1;
                        values - to_values(&program[at + 2..])
                    }
                    _ => MAP | u64::from(id),
                }
            }
        }
    }

    fn atomic(&mut self, r: &mut [u64; 11], i: &Instruction, to: u64, length: usize) {
        let old = self.memory.load(to, length);
        let source = r[i.source];
        let new = match i.number & !1 {
            0x00 => old.wrapping_add(source),
            0x40 => old | source,
            0x50 => old & source,
            0xa0 => old ^ source,
            0xe0 => source,
            0xf0 if old == r[0] => source,
            0xf0 => old,
            other => panic!("no atomic operation is {other:#x}"),
        };
        self.memory.store(to, length, new);
        if i.number & !1 == 0xf0 {
            r[0] = old;
        } else if i.number & 1 == 1 {
            r[i.source] = old;
        }
    }
}

/// Returns the number of the map that an argument stands for.
#[track_caller]
pub fn map_of(argument: u64) -> u32 {
    assert_eq!(argument & MAP, MAP, "{argument:#x} is no map");
    argument as u32
}

/// What the kernel's variables read as: programs read its clock only. Half a second after a recorded packet, no flow is
/// updated or expires.
const NOW: u64 = 1 << 32;

/// Returns what an inlined lookup adds to the address of an array, whose instructions follow, for that of its values.
#[track_caller]
fn to_values(program: &[u64]) -> u64 {
    let mut instructions = program.iter().map(|word| Instruction::new(*word));
    let added =
        instructions.find(|i| i.code == 0x07 && i.target == 1).expect("lookups of arrays are inlined");
    added.number.cast_unsigned().into()
}

fn jump(next: usize, offset: i32) -> usize {
    next.checked_add_signed(offset as isize).expect("a jump leads to an instruction")
}

const fn length(code: u8) -> usize {
    match code & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}

/// Returns the number in network or little-endian byte order.
fn swapped(i: &Instruction, number: u64) -> u64 {
    match (i.code & 0x08 != 0, i.number) {
        (true, 16) => (number as u16).swap_bytes().into(),
        (true, 32) => (number as u32).swap_bytes().into(),
        (true, _) => number.swap_bytes(),
        (false, 64) => number,
        (false, bits) => number & ((1 << bits) - 1),
    }
}

fn arithmetic32(i: &Instruction, a: u32, b: u32) -> u64 {
    let result = match i.code >> 4 {
        0x0 => a.wrapping_add(b),
        0x1 => a.wrapping_sub(b),
        0x2 => a.wrapping_mul(b),
        0x3 => a.checked_div(b).unwrap_or(0),
        0x4 => a | b,
        0x5 => a & b,
        0x6 => a.wrapping_shl(b),
        0x7 => a.wrapping_shr(b),
        0x8 => a.wrapping_neg(),
        0x9 => a.checked_rem(b).unwrap_or(a),
        0xa => a ^ b,
        0xb => b,
        0xc => (a.cast_signed().wrapping_shr(b)).cast_unsigned(),
        other => panic!("no operation is {other:#x}"),
    };
    result.into()
}

fn arithmetic64(i: &Instruction, a: u64, b: u64) -> u64 {
    match i.code >> 4 {
        0x0 => a.wrapping_add(b),
        0x1 => a.wrapping_sub(b),
        0x2 => a.wrapping_mul(b),
        0x3 => a.checked_div(b).unwrap_or(0),
        0x4 => a | b,
        0x5 => a & b,
        0x6 => a.wrapping_shl(b as u32),
        0x7 => a.wrapping_shr(b as u32),
        0x8 => a.wrapping_neg(),
        0x9 => a.checked_rem(b).unwrap_or(a),
        0xa => a ^ b,
        0xb => b,
        0xc => (a.cast_signed().wrapping_shr(b as u32)).cast_unsigned(),
        other => panic!("no operation is {other:#x}"),
    }
}

/// Returns whether the condition of a jump holds.
fn holds(i: &Instruction, a: u64, b: u64) -> bool {
    let narrow = i.code & 7 == 6;
    let (a, b) = if narrow { (a & 0xffff_ffff, b & 0xffff_ffff) } else { (a, b) };
    let signed = |n: u64| if narrow { i64::from((n as u32).cast_signed()) } else { n.cast_signed() };
    match i.code >> 4 {
        0x1 => a == b,
        0x2 => a > b,
        0x3 => a >= b,
        0x4 => a & b != 0,
        0x5 => a != b,
        0x6 => signed(a) > signed(b),
        0x7 => signed(a) >= signed(b),
        0xa => a < b,
        0xb => a <= b,
        0xc => signed(a) < signed(b),
        0xd => signed(a) <= signed(b),
        other => panic!("no condition is {other:#x}"),
    }
}
