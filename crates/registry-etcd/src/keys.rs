use vine_registry::view::Topic;

use crate::Layout;

/// Where nodes are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys(pub(crate) Layout);

impl Keys {
    const fn root(self) -> &'static str {
        match self.0 {
            Layout::Vine | Layout::Vine15 => "/vine/registry/",
            Layout::GoMicro => "/micro/registry/",
        }
    }

    /// The key of one node.
    pub(crate) fn node(self, namespace: &str, service: &str, id: &str) -> String {
        let mut key = self.begin([namespace, service], id.len());
        push_segment(&mut key, id);
        key
    }

    /// Whether a key is that of this node.
    pub(crate) fn is_of(self, key: &str, namespace: &str, service: &str, id: &str) -> bool {
        let rest = key.strip_prefix(self.root());
        let rest = match self.0 {
            Layout::Vine => rest.and_then(|rest| behind(rest, namespace)),
            Layout::Vine15 | Layout::GoMicro => rest,
        };
        let rest = rest.and_then(|rest| behind(rest, service));
        rest.is_some_and(|rest| is_segment(rest, id))
    }

    /// What the keys of all nodes of a service begin with; of others too, if only `/` and `-` tell
    /// their names apart.
    fn service(self, namespace: &str, service: &str) -> String {
        self.begin([namespace, service], 0)
    }

    fn namespace(self, namespace: &str) -> String {
        self.begin([namespace], 0)
    }

    /// The root, a namespace if this layout has any, and what follows; with room for more.
    fn begin<const N: usize>(self, segments: [&str; N], room: usize) -> String {
        let segments = &segments[usize::from(self.0 != Layout::Vine)..];
        let size: usize = segments.iter().map(|segment| segment.len() + 1).sum();
        let mut key = String::with_capacity(self.root().len() + size + room);
        key.push_str(self.root());
        for segment in segments {
            push_segment(&mut key, segment);
            key.push('/');
        }
        key
    }

    /// What the keys of everything that the topic covers begin with. It ends in `/`, so that `foo`
    /// does not find `foobar`.
    pub(crate) fn prefix(self, topic: &Topic) -> String {
        match (&topic.namespace, &topic.service) {
            (Some(namespace), Some(service)) => self.service(namespace, service),
            (Some(namespace), None) => self.namespace(namespace),
            (None, Some(service)) if self.0 != Layout::Vine => self.service("", service),
            (None, _) => self.root().to_owned(),
        }
    }

    /// The namespace that stands in the key, if this layout has any; none too if the key is not one
    /// of a node.
    pub(crate) fn namespace_of(self, key: &str) -> Option<&str> {
        let rest = key.strip_prefix(self.root())?;
        match self.0 {
            Layout::Vine => rest.split('/').next(),
            Layout::Vine15 | Layout::GoMicro => None,
        }
    }
}

/// The end of the range of all keys that begin with `prefix`, which ends in `/`.
pub(crate) fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

fn push_segment(key: &mut String, text: &str) {
    for (i, part) in text.split('/').enumerate() {
        if i > 0 {
            key.push('-');
        }
        key.push_str(part);
    }
}

/// What follows in a key behind the segment that says `text`.
fn behind<'a>(key: &'a str, text: &str) -> Option<&'a str> {
    let (segment, rest) = key.split_at_checked(text.len())?;
    rest.strip_prefix('/').filter(|_| is_segment(segment, text))
}

fn is_segment(segment: &str, text: &str) -> bool {
    let of = |byte| if byte == b'/' { b'-' } else { byte };
    segment.len() == text.len() && segment.bytes().eq(text.bytes().map(of))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_is_known_without_making_it(
            [namespace, service, id] in ["[a/é-]{1,3}", "[a/é-]{1,3}", "[a/é-]{1,3}"],
            other in "(/vine/registry/|/micro/registry/)([aé-]{1,3}/){0,3}[a/é-]{1,3}",
        ) {
            for layout in [Layout::Vine, Layout::Vine15, Layout::GoMicro] {
                let keys = Keys(layout);
                let key = keys.node(&namespace, &service, &id);
                prop_assert!(keys.is_of(&key, &namespace, &service, &id));
                prop_assert_eq!(keys.is_of(&other, &namespace, &service, &id), other == key);
            }
        }
    }

    #[test]
    fn each_layout_has_its_keys() {
        for (layout, key, prefix) in [
            (
                Layout::Vine,
                "/vine/registry/ns/a-b/c-d",
                "/vine/registry/ns/a-b/",
            ),
            (
                Layout::Vine15,
                "/vine/registry/a-b/c-d",
                "/vine/registry/a-b/",
            ),
            (
                Layout::GoMicro,
                "/micro/registry/a-b/c-d",
                "/micro/registry/a-b/",
            ),
        ] {
            let keys = Keys(layout);
            assert_eq!(keys.node("ns", "a/b", "c/d"), key);
            assert_eq!(keys.prefix(&Topic::service("ns", "a/b")), prefix);
        }
    }

    #[test]
    fn a_prefix_ends_in_a_slash_and_its_range_behind_it() {
        let keys = Keys(Layout::Vine);
        let all = keys.prefix(&Topic::default());
        let one = keys.prefix(&Topic::new(Some("ns".into()), None));
        assert_eq!((&*all, &*one), ("/vine/registry/", "/vine/registry/ns/"));
        let end = end_of("/vine/registry/ns/foo/");
        assert!(b"/vine/registry/ns/foo/\xff"[..] < *end);
        assert!(b"/vine/registry/ns/foobar/a"[..] > *end);
    }
}
