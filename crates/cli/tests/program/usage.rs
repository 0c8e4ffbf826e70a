use crate::process::{run, vine};

/// Ends with 2 and one line on standard error, which it gives.
fn complaint(words: &str) -> String {
    let ended = run(&mut vine(words));
    assert_eq!(ended.code, Some(2), "{words}: {}", ended.stderr);
    assert_eq!(ended.stdout, "", "{words}");
    assert_eq!(ended.stderr.lines().count(), 1, "{words}: {}", ended.stderr);
    ended.stderr
}

#[test]
fn wrong_flags_end_with_2() {
    for words in [
        "lst",
        "list --nonsense",
        "get",
        "get a --wait soon",
        "list --registry.timeout 5",
        "register a --version v1 --id 1",
        "register a --version v1 --id 1 --address h:1 --metadata nonsense",
        "completions tcl",
        "call a hello",
        "call a / -H nonsense",
        "call a / -d @",
        "call a / --strategy consistent-hash",
        "call a / --strategy random --key k",
        "bench a / --strategy weighted --key k",
        "bench a / -c 0",
        "bench a / -n -1",
        "call a / -X {}",
        "call a / -H (x):y",
        "call http://a/",
    ] {
        assert!(complaint(words).starts_with("error: "), "{words}");
    }
}

#[test]
fn what_is_wrong_is_said_of_the_word_that_is() {
    for (words, reason) in [
        (
            "bench a / -n -1",
            "'-1' for '--calls <N>': not a number of at least 1; ",
        ),
        (
            "call http://a/",
            "a name is no URL; write the name and the path as two words; ",
        ),
    ] {
        let complaint = complaint(words);
        assert!(complaint.contains(reason), "{complaint}");
    }
}

#[test]
fn an_unknown_registry_lists_the_known_ones() {
    let complaint = complaint("list --registry.default=zookeeper");
    assert!(
        complaint.contains("mdns") && complaint.contains("memory"),
        "{complaint}"
    );
}

#[test]
fn without_a_command_there_is_help() {
    let ended = run(&mut vine(""));
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("Usage: vine"), "{}", ended.stderr);
}

#[test]
fn what_can_not_be_registered_is_wrong_usage() {
    let flags = "--registry.default=memory --version v1 --id 1";
    let ended = run(&mut vine(&format!("register a {flags} --address nowhere")));
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("host:port"), "{}", ended.stderr);
}
