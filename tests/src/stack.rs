// SPDX-License-Identifier: MIT OR Apache-2.0
//! The stack that each program and the functions that it calls use together, as the strictest kernels count it.
//!
//! Linux before 6.8 rounds the stack of each function up to 32 bytes, later ones to 16 (`check_max_stack_depth` in
//! `kernel/bpf/verifier.c`): programs that the running kernel takes may be too large for an older one.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionIndex, SymbolKind,
    read::elf::ElfFile64,
};

/// Bytes of stack that a program and the functions that it calls may use (`MAX_BPF_STACK`).
pub const LIMIT: u32 = 512;
/// Unit of the stack of a function.
const UNIT: u32 = 32;
/// Length of an instruction in bytes.
const INSTRUCTION: u64 = 8;
/// The register with the end of the function's stack.
const FRAME: u8 = 10;

/// Operations (`include/uapi/linux/bpf.h`), and the values of the source register that make them refer to a function.
const CALL: u8 = 0x85;
const LOAD_WIDE: u8 = 0x18;
const MOVE: u8 = 0xbf;
const ADD_NUMBER: u8 = 0x07;
const PSEUDO_CALL: u8 = 1;

/// The place of a function in the object: its section and its distance from the beginning of it.
type Place = (usize, u64);

/// A function of the object.
#[derive(Debug, Default)]
struct Function {
    name: String,
    /// Bytes of stack.
    depth: u32,
    /// The functions that it calls or passes to the kernel, which calls them.
    callees: BTreeSet<Place>,
}

/// The chain of functions of a program that uses the most stack.
#[derive(Debug, Eq, PartialEq)]
pub struct Chain {
    /// Name of the program, and of the functions that it calls, with the bytes of each.
    pub functions: Vec<(String, u32)>,
}

impl Chain {
    /// Returns the number of bytes of stack.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        self.functions.iter().map(|(_, depth)| depth.max(&1).next_multiple_of(UNIT)).sum()
    }
}

/// Returns the chain with the most stack for each program of an object, in the order of the object.
///
/// # Errors
/// If the bytes are no object of BPF programs.
pub fn chains(object: &[u8]) -> Result<Vec<Chain>> {
    let file = ElfFile64::<object::Endianness>::parse(object)?;
    let mut functions = functions(&file)?;
    let places: Vec<Place> = functions.keys().copied().collect();
    for place in &places {
        let function = read(&file, *place, &places)?;
        let known = functions.get_mut(place).context("a function disappears")?;
        (known.depth, known.callees) = (function.depth, function.callees);
    }
    let is_program = |place: &&Place| {
        file.section_by_index(SectionIndex(place.0))
            .is_ok_and(|section| section.name().is_ok_and(|name| name != ".text"))
    };
    places.iter().filter(is_program).map(|place| deepest(&functions, *place, 0)).collect()
}

fn functions(file: &ElfFile64<'_, object::Endianness>) -> Result<BTreeMap<Place, Function>> {
    let mut functions = BTreeMap::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
        if let Some(section) = symbol.section_index() {
            let function = Function { name: symbol.name()?.to_owned(), ..Function::default() };
            functions.insert((section.0, symbol.address()), function);
        }
    }
    Ok(functions)
}

/// Reads the instructions of the function at a place, which ends where the next one begins.
fn read(file: &ElfFile64<'_, object::Endianness>, place: Place, places: &[Place]) -> Result<Function> {
    let section = file.section_by_index(SectionIndex(place.0))?;
    let code = section.data()?;
    let end = places.iter().find(|next| next.0 == place.0 && next.1 > place.1).map(|next| next.1);
    let code = &code[place.1 as usize..end.map_or(code.len(), |end| end as usize)];
    let targets: BTreeMap<u64, RelocationTarget> =
        section.relocations().map(|(at, relocation)| (at, relocation.target())).collect();
    let mut function = Function::default();
    // Registers that have the end of the stack.
    let mut copies = [false; 16];
    for (at, instruction) in (place.1..).step_by(INSTRUCTION as usize).zip(code.chunks_exact(8)) {
        let [operation, registers, low, high, number @ ..] = instruction else { unreachable!() };
        let number = i32::from_le_bytes([number[0], number[1], number[2], number[3]]);
        let (to, from) = (registers & 0xf, registers >> 4);
        let offset = i16::from_le_bytes([*low, *high]);
        let mut uses = |below: i32| {
            function.depth = function.depth.max(u32::try_from(below.saturating_neg()).unwrap_or(0));
        };
        // Loads have the address in one register, stores in the other.
        match operation & 7 {
            1 if from == FRAME => uses(offset.into()),
            2 | 3 if to == FRAME => uses(offset.into()),
            _ => {}
        }
        match *operation {
            MOVE => copies[usize::from(to)] = from == FRAME,
            ADD_NUMBER if copies[usize::from(to)] => {
                uses(number);
                copies[usize::from(to)] = false;
            }
            CALL if from == PSEUDO_CALL => {
                let callee = match targets.get(&at) {
                    Some(target) => symbol(file, *target, number)?,
                    None => (place.0, at.wrapping_add_signed((i64::from(number) + 1) * 8)),
                };
                if !places.contains(&callee) {
                    bail!("the call at {at:#x} leads to no function");
                }
                function.callees.insert(callee);
            }
            // The address of a function, for a helper that calls it.
            LOAD_WIDE if let Some(target) = targets.get(&at) => {
                let callee = symbol(file, *target, number / 8 - 1)?;
                if places.contains(&callee) {
                    function.callees.insert(callee);
                }
            }
            _ => {}
        }
    }
    Ok(function)
}

/// Returns the place to which a relocation refers: a function, or a number of instructions into a section.
fn symbol(file: &ElfFile64<'_, object::Endianness>, target: RelocationTarget, number: i32) -> Result<Place> {
    let RelocationTarget::Symbol(index) = target else { bail!("a relocation refers to no symbol") };
    let symbol = file.symbol_by_index(index)?;
    let section = symbol.section_index().unwrap_or(SectionIndex(0));
    let into = if symbol.kind() == SymbolKind::Section { (i64::from(number) + 1) * 8 } else { 0 };
    Ok((section.0, symbol.address().wrapping_add_signed(into)))
}

fn deepest(functions: &BTreeMap<Place, Function>, place: Place, level: u32) -> Result<Chain> {
    // `MAX_CALL_FRAMES`
    if level > 8 {
        bail!("functions call each other more than eight deep");
    }
    let function = functions.get(&place).context("a call leads to no function")?;
    let callees = function.callees.iter().map(|callee| deepest(functions, *callee, level + 1));
    let below = callees.collect::<Result<Vec<Chain>>>()?.into_iter().max_by_key(Chain::bytes);
    let mut chain = vec![(function.name.clone(), function.depth)];
    chain.extend(below.into_iter().flat_map(|chain| chain.functions));
    Ok(Chain { functions: chain })
}
