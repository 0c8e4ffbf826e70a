use crate::process::{Running, run, vine};

const NOTE: &str = "a memory registry is seen by this process alone, and ends with it\n";

#[test]
fn a_memory_registry_says_what_it_is() {
    let ended = run(&mut vine("list --registry.default=memory"));
    assert_eq!((ended.code, &*ended.stdout), (Some(0), ""));
    assert_eq!(
        ended.stderr,
        format!(
            "{NOTE}no services in namespace \"vine\" on memory; --all-namespaces shows the others\n"
        )
    );
}

#[test]
fn nothing_is_an_empty_array() {
    let ended = run(&mut vine("list -o json --registry.default=memory"));
    assert_eq!((ended.code, &*ended.stdout), (Some(0), "[]\n"));
}

#[test]
fn not_found_ends_with_1_and_the_remedy() {
    for words in [
        "get nobody",
        "get nobody -o json",
        "deregister nobody --version v1 --id 1",
    ] {
        let ended = run(&mut vine(&format!("{words} --registry.default=memory")));
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{words}");
        assert_eq!(
            ended.stderr.strip_prefix(NOTE),
            Some(
                "error: service \"nobody\" not found in namespace \"vine\"; 'vine list --all-namespaces' shows what there is\n"
            ),
            "{words}"
        );
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    for words in ["list -o json", "watch -o json"] {
        let mut command = vine(&format!("{words} --registry.default=memory"));
        let ended = Running::start_into(&mut command, writer.try_clone().unwrap()).end();
        assert_eq!((ended.code, &*ended.stderr), (Some(0), NOTE), "{words}");
    }
}

#[cfg(unix)]
mod signals {
    use nix::sys::signal::Signal;

    use crate::process::{Running, vine};

    #[test]
    fn a_watch_ends_well_when_asked_to() {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let watch = Running::start(&mut vine("watch -o json --registry.default=memory"));
            assert_eq!(watch.line(), "{\"snapshot\":[]}\n");
            watch.signal(signal);
            assert_eq!(watch.end().code, Some(0));
        }
    }

    #[test]
    fn a_registration_ends_when_asked_to_and_says_so() {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let words = "register a --version v1 --id 1 --address [::1]:80 --ttl 30s \
                --metadata vine.zone=north --registry.default=memory";
            let register = Running::start(&mut vine(words));
            assert_eq!(
                register.line(),
                "registered a v1 1 at [::1]:80 in namespace vine; Ctrl-C deregisters\n"
            );
            register.signal(signal);
            assert_eq!(
                register.line(),
                "deregistered a v1 1 at [::1]:80 in namespace vine\n"
            );
            assert_eq!(register.end().code, Some(0));
        }
    }
}
