//! What costs a guest more than it does. Copies whose length only the run tells: the engine's runtime leaves each to the host, and the way
//! there costs more than most of them, a word or a name, are long. So they become calls of a function that the SDK brings, which does what
//! is short by itself. And calls of functions that do nothing, of which Rust makes one for each block of memory: they go.

use std::convert::Infallible;

use anyhow::Result;
use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{CodeSection, ExportSection, Instruction, Module};
use wasmparser::{CompositeInnerType, Export, ExternalKind, FunctionBody, Operator, Parser, Payload, TypeRef};

/// The SDK's functions, as the module exports them.
const COPY: &str = "sentrail_copy";
const FILL: &str = "sentrail_fill";

/// The module with calls of the SDK's functions, which it exports no more, and without calls of nothing; a module without the former as it
/// is.
pub fn shortened(module: &[u8]) -> Result<Vec<u8>> {
    let (mut copy, mut fill, mut imported) = (None, None, 0);
    let (mut types, mut functions, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    let mut body = 0;
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::TypeSection(groups) => {
                for group in groups {
                    types.extend(group?.into_types().map(|kind| match &kind.composite_type.inner {
                        CompositeInnerType::Func(kind) => kind.params().is_empty() && kind.results().is_empty(),
                        _ => false,
                    }));
                }
            }
            Payload::FunctionSection(kinds) => functions = kinds.into_iter().collect::<Result<_, _>>()?,
            Payload::CodeSectionEntry(code) => {
                let takes_nothing = functions.get(body).and_then(|kind: &u32| types.get(*kind as usize));
                let does_nothing = matches!(code.get_operators_reader()?.read()?, Operator::End);
                if takes_nothing == Some(&true) && does_nothing {
                    idle.push(imported + body as u32);
                }
                body += 1;
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    imported += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let Export { name, kind, index } = export?;
                    match name {
                        COPY if kind == ExternalKind::Func => copy = Some(index),
                        FILL if kind == ExternalKind::Func => fill = Some(index),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let (Some(copy), Some(fill)) = (copy, fill) else {
        return Ok(module.to_vec());
    };
    let mut shorten = Shorten {
        copy,
        fill,
        idle,
        next: imported,
        own: false,
        known: false,
    };
    let mut shortened = Module::new();
    shorten.parse_core_module(&mut shortened, Parser::new(0), module)?;
    Ok(shortened.finish())
}

struct Shorten {
    /// Indices of the SDK's functions.
    copy: u32,
    fill: u32,
    /// Indices of functions that take, do and give nothing.
    idle: Vec<u32>,
    /// Index of the next body's function.
    next: u32,
    /// The body is one of these two functions'.
    own: bool,
    /// The instruction before was a constant: the runtime copies so many bytes in place.
    known: bool,
}

impl Reencode for Shorten {
    type Error = Infallible;

    fn parse_export(&mut self, exports: &mut ExportSection, export: Export<'_>) -> Result<(), Error> {
        match export.name {
            COPY | FILL => Ok(()),
            _ => utils::parse_export(self, exports, export),
        }
    }

    fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Result<(), Error> {
        self.own = [self.copy, self.fill].contains(&self.next);
        self.next += 1;
        utils::parse_function_body(self, code, body)
    }

    fn instruction<'a>(&mut self, operator: Operator<'a>) -> Result<Instruction<'a>, Error> {
        let open = !self.own && !self.known;
        self.known = matches!(operator, Operator::I32Const { .. });
        match operator {
            Operator::MemoryCopy { dst_mem: 0, src_mem: 0 } if open => Ok(Instruction::Call(self.copy)),
            Operator::MemoryFill { mem: 0 } if !self.own => Ok(Instruction::Call(self.fill)),
            Operator::Call { function_index } if self.idle.contains(&function_index) => Ok(Instruction::Nop),
            operator => utils::instruction(self, operator),
        }
    }
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{ExportKind, Function, FunctionSection, MemorySection, MemoryType, TypeSection, ValType};

    use super::*;

    const COPYING: Instruction = Instruction::MemoryCopy { src_mem: 0, dst_mem: 0 };

    /// A module of the functions `exports` name, each of which takes three numbers, and one more; all have the same body.
    fn module(exports: &[&str], body: &[Instruction]) -> Vec<u8> {
        let (mut types, mut functions, mut memories) =
            (TypeSection::new(), FunctionSection::new(), MemorySection::new());
        types.ty().function([ValType::I32; 3], []);
        memories.memory(MemoryType {
            minimum: 1,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        let (mut exported, mut code) = (ExportSection::new(), CodeSection::new());
        for index in 0..=exports.len() {
            functions.function(0);
            if let Some(name) = exports.get(index) {
                exported.export(name, ExportKind::Func, index as u32);
            }
            let mut function = Function::new([]);
            for instruction in body {
                function.instruction(instruction);
            }
            code.function(&function);
        }
        let mut module = Module::new();
        module.section(&types).section(&functions).section(&memories);
        module.section(&exported).section(&code);
        module.finish()
    }

    /// The calls and copies of each body, and the names of the exports.
    fn seen(module: &[u8]) -> (Vec<Vec<String>>, Vec<String>) {
        let (mut bodies, mut names) = (Vec::new(), Vec::new());
        for payload in Parser::new(0).parse_all(module) {
            match payload.expect("valid") {
                Payload::CodeSectionEntry(body) => {
                    let operators = body.get_operators_reader().expect("valid").into_iter();
                    let of_interest = |operator: Operator| match operator {
                        Operator::Call { function_index } => Some(format!("call {function_index}")),
                        Operator::MemoryCopy { .. } => Some("copy".to_owned()),
                        Operator::MemoryFill { .. } => Some("fill".to_owned()),
                        Operator::Nop => Some("nothing".to_owned()),
                        _ => None,
                    };
                    bodies.push(
                        operators
                            .filter_map(|operator| of_interest(operator.expect("valid")))
                            .collect(),
                    );
                }
                Payload::ExportSection(exports) => {
                    names.extend(exports.into_iter().map(|export| export.expect("valid").name.to_owned()));
                }
                _ => {}
            }
        }
        (bodies, names)
    }

    #[test]
    fn copies_of_unknown_length_and_fills_are_calls_but_in_the_functions_themselves() {
        let arguments = [
            Instruction::LocalGet(0),
            Instruction::LocalGet(1),
            Instruction::LocalGet(2),
        ];
        let known = [
            Instruction::LocalGet(0),
            Instruction::LocalGet(1),
            Instruction::I32Const(12),
        ];
        let mut body = Vec::new();
        for (length, what) in [
            (&arguments, COPYING),
            (&known, COPYING),
            (&arguments, Instruction::MemoryFill(0)),
            (&known, Instruction::MemoryFill(0)),
        ] {
            body.extend(length.iter().cloned());
            body.push(what);
        }
        body.push(Instruction::End);
        let whole = module(&["other", FILL, COPY], &body);
        let (bodies, names) = seen(&shortened(&whole).expect("valid"));
        let own = ["copy", "copy", "fill", "fill"];
        let others = ["call 2", "copy", "call 1", "call 1"];
        assert_eq!(
            bodies,
            [others, own, own, others].map(|body| body.map(str::to_owned).to_vec())
        );
        assert_eq!(names, ["other"]);

        let without = module(&["other", COPY], &body);
        assert_eq!(
            shortened(&without).expect("valid"),
            without,
            "one that is not built on the SDK"
        );
    }
    #[test]
    fn calls_of_functions_that_do_nothing_go() {
        let (mut types, mut functions, mut exports, mut code) = (
            TypeSection::new(),
            FunctionSection::new(),
            ExportSection::new(),
            CodeSection::new(),
        );
        types.ty().function([], []);
        types.ty().function([ValType::I32], []);
        // The SDK's two, one that does nothing, one that does something, one that takes something, and one that calls them.
        for kind in [0, 0, 0, 0, 1, 0] {
            functions.function(kind);
        }
        exports
            .export(COPY, ExportKind::Func, 0)
            .export(FILL, ExportKind::Func, 1);
        let calls = [
            Instruction::Call(2),
            Instruction::Call(3),
            Instruction::I32Const(1),
            Instruction::Call(4),
        ];
        for body in [
            &[Instruction::Unreachable][..],
            &[Instruction::Unreachable],
            &[],
            &[Instruction::Unreachable],
            &[],
            &calls,
        ] {
            let mut function = Function::new([]);
            for instruction in body {
                function.instruction(instruction);
            }
            function.instruction(&Instruction::End);
            code.function(&function);
        }
        let mut module = Module::new();
        module
            .section(&types)
            .section(&functions)
            .section(&exports)
            .section(&code);
        let (bodies, _) = seen(&shortened(&module.finish()).expect("valid"));
        assert_eq!(bodies[5], ["nothing", "call 3", "call 4"]);
    }
}
