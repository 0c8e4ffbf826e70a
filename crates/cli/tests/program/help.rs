use crate::process::{run, vine};

#[test]
fn every_help_is_as_it_was_agreed() {
    for command in [
        "",
        "list",
        "get",
        "watch",
        "call",
        "bench",
        "register",
        "deregister",
        "doctor",
        "completions",
    ] {
        let ended = run(&mut vine(&format!("{command} --help")));
        assert_eq!(ended.code, Some(0), "{command}: {}", ended.stderr);
        let name = if command.is_empty() { "vine" } else { command };
        insta::assert_snapshot!(name, ended.stdout);
    }
}

#[test]
fn a_shell_learns_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ended = run(&mut vine(&format!("completions {shell}")));
        assert_eq!(ended.code, Some(0), "{shell}: {}", ended.stderr);
        for word in ["deregister", "registry.namespace"] {
            assert!(ended.stdout.contains(word), "{shell} lacks {word}");
        }
    }
}

#[test]
fn the_version_is_told() {
    let ended = run(&mut vine("--version"));
    assert_eq!(ended.code, Some(0));
    assert_eq!(
        ended.stdout,
        format!("vine {}\n", env!("CARGO_PKG_VERSION"))
    );
}
