//! End to end: the engine as its users run it. One binary, so that it links once.
#![allow(clippy::unwrap_used)] // a failed test is a panic

mod assets;
mod cli;
mod files;
mod inhibits;
mod intake;
mod kafka;
mod languages;
mod lifecycle;
mod lookups;
mod operating;
mod redaction;
mod restart;
mod sequences;
mod serving;
mod storms;
mod support;
mod tidy;
mod triage;
mod workbench;
