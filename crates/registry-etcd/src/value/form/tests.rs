use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::json;

use super::*;

fn form(json: &str) -> Option<Form> {
    let value = Value::decode(json.as_bytes()).unwrap().unwrap();
    Form::of(json.as_bytes(), &value.source)
}

/// Pieces that values are made of, right and wrong.
fn value() -> impl Strategy<Value = String> {
    const BEFORE: [&str; 8] = [
        r#"{"name":"s","version":"v1","#,
        r#"{"name":"s","version":"v2","metadata":{"a":"\"nodes\":["},"#,
        r#"{"name":"s","x\"nodes":[{"id":"n"}],"#,
        r#"{"name":"s","apis":[{"nodes":[{"id":"n"}],"y":{"epoch":1}}],"#,
        r#"{"name":"s","epoch":null,"#,
        r#"{"nodes":[{"id":"m"}],"name":"s","#,
        r#"{"name":"s","changed":7,"#,
        r#"{ "name": "s", "#,
    ];
    const NODE: [&str; 12] = [
        r#""nodes":[{"id":"n","address":"10.0.0.7:80"}]"#,
        r#""nodes":[{"id":"o","address":"10.0.0.7","port":80,"metadata":{"b":"2","a":"1"}}]"#,
        r#""nodes":[{"id":"n","metadata":{"a":null,"a":"]},","b":"\u00e9\n"},"new":[{}]}]"#,
        r#""nodes":[ {"id":"n"} ]"#,
        r#""nodes":[{"id":"n"},{"id":"o"}]"#,
        r#""nodes":[{"id":"n","id":"o"}]"#,
        r#""nodes":[["n","a:1"]]"#,
        r#""nodes":[{"id":7}]"#,
        r#""nodes":[null]"#,
        r#""nodes":[]"#,
        r#""nodes":null"#,
        r#""nodes": [{"id":"n"}]"#,
    ];
    const AFTER: [&str; 7] = [
        "",
        r#","ttl":30"#,
        r#","apis":[{"a":1}]"#,
        r#","apis":[{"a":1,"epoch":2}]"#,
        r#","apis":[{"nodes":[{"id":"p"}]}]"#,
        r#","epoch":"x""#,
        r#","deregistered":false"#,
    ];
    const END: [&str; 13] = [
        "}",
        r#","epoch":17,"changed":18}"#,
        r#","epoch":0,"changed":18446744073709551615}"#,
        r#","epoch":17,"changed":18,"deregistered":true}"#,
        r#","deregistered":true}"#,
        r#","epoch":17}"#,
        r#","epoch":-1,"changed":null}"#,
        r#","epoch":1.5,"changed":18446744073709551616}"#,
        r#","epoch":07,"changed":1}"#,
        r#","epoch":+7,"changed":1}"#,
        r#","epoch":1,"changed":2,"changed":3}"#,
        r#","epoch":1,"changed":2} "#,
        r#","epoch":1,"changed":2"#,
    ];
    (select(&BEFORE), select(&NODE), select(&AFTER), select(&END))
        .prop_map(|(before, node, after, end)| [before, node, after, end].concat())
}

proptest! {
    #[test]
    fn says_what_reading_all_of_it_says(one in value(), others in vec(value(), 20)) {
        let Ok(Some(value)) = Value::decode(one.as_bytes()) else { return Ok(()) };
        let Some(form) = Form::of(one.as_bytes(), &value.source) else { return Ok(()) };
        for other in others.iter().chain([&one]) {
            if let Some(quick) = form.read(other.as_bytes()) {
                prop_assert_eq!(Some(quick), Value::decode(other.as_bytes()).unwrap(), "{} as {}", other, one);
            }
        }
    }

    #[test]
    fn takes_what_is_written_here(ids in vec("[a-z\"/é]{1,9}", 2..5), text in "\\PC{0,9}", ttl in any::<Option<u8>>()) {
        let mut service = Service::new("s", "v1").with_metadata([("k", &*text)]);
        service.ttl = ttl.map(|ttl| std::time::Duration::from_secs(1 + u64::from(ttl)));
        service = service.with_apis([json!({ "nodes": [text] })]);
        let value = |id: &String| {
            let node = Arc::new(Node::new(&**id, "10.0.0.7:80").with_metadata([("m", &*text)]));
            super::super::encode(&service, &node, 7, 8).unwrap()
        };
        let first = value(&ids[0]);
        let source = Value::decode(&first).unwrap().unwrap().source;
        let form = Form::of(&first, &source).unwrap();
        for id in &ids {
            let json = value(id);
            let quick = form.read(&json);
            prop_assert!(quick.is_some());
            prop_assert_eq!(quick, Value::decode(&json).unwrap());
        }
    }
}

#[test]
fn is_not_taken_in_by_what_looks_like_the_place_of_the_node() {
    for other in [
        r#"{"x":{"nodes":[{"id":"m"}]},"name":"s","nodes":[{"id":"n"}]}"#,
        r#"{"x\"nodes":[{"id":"m"}],"name":"s","nodes":[{"id":"n"}]}"#,
        r#"{"name":"s","epoch":7,"nodes":[{"id":"n"}]}"#,
        r#"{"name":"s","nodes":[{"id":"m"},{"id":"n"}]}"#,
    ] {
        assert!(form(other).is_none(), "{other}");
    }
    let form = form(r#"{"name":"s","nodes":[{"id":"n"}],"ttl":3,"epoch":1,"changed":2}"#).unwrap();
    let read = |json: &str| form.read(json.as_bytes());
    assert!(read(r#"{"name":"s","nodes":[{"id":"o"}],"ttl":3}"#).is_some());
    assert!(read(r#"{"name":"s","nodes":[{"id":"o"}],"ttl":4}"#).is_none());
    assert!(read(r#"{"name":"t","nodes":[{"id":"o"}],"ttl":3}"#).is_none());
}
