//! Command lines, an argument a line: parsing them and opening what they name gives an answer, and
//! what is wrong fits on one line.
#![no_main]

use clap::Parser;
use libfuzzer_sys::fuzz_target;
use vine::{Flags, MemoryRegistry, Registries, Registry, cli};

#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    vine: Flags,
}

fuzz_target!(|text: &str| {
    let args = ["fuzz"].into_iter().chain(text.lines());
    match Args::try_parse_from(args) {
        Ok(args) => {
            // No sockets: engines that keep their options and do nothing.
            let mut registries = Registries::empty();
            for name in ["mdns", "memory", "etcd", "file"] {
                registries.insert(name, MemoryRegistry::with_options);
            }
            match args.vine.registry.open(&registries) {
                Ok(registry) => assert!(!registry.options().namespace.is_empty(), "{text:?}"),
                Err(error) => assert!(!error.to_string().is_empty(), "{text:?}"),
            }
            assert!(!format!("{:?}", args.vine).is_empty());
        }
        Err(error) if error.use_stderr() => {
            let line = cli::one_line(&error);
            assert!(
                !line.is_empty() && !line.contains('\n'),
                "{text:?}: {line:?}"
            );
        }
        Err(_help) => {}
    }
});
