use std::sync::Arc;

use semver::{Version, VersionReq};
use vine_registry::{Node, Service};

use super::Exclusion;

/// What a node must be like to be picked.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) version: Option<Arc<str>>,
    pub(super) versions: Option<VersionReq>,
    pub(super) labels: Vec<(Arc<str>, Arc<str>)>,
    pub(super) endpoint: Option<Arc<str>>,
}

impl Filter {
    /// Why a node will not do.
    pub(super) fn excludes(&self, service: &Service, node: &Node) -> Option<Exclusion> {
        let all_out = self.excludes_service(service);
        all_out.or_else(|| self.excludes_node(service, node))
    }

    /// Why no node of this service will do.
    pub(super) fn excludes_service(&self, service: &Service) -> Option<Exclusion> {
        if self
            .version
            .as_ref()
            .is_some_and(|version| *version != service.version)
            || self
                .versions
                .as_ref()
                .is_some_and(|range| !in_range(range, &service.version))
        {
            return Some(Exclusion::Version);
        }
        let offers = |name: &Arc<str>| {
            service
                .endpoints
                .iter()
                .any(|endpoint| *endpoint.name == **name)
        };
        let lacks = self.endpoint.as_ref().is_some_and(|name| !offers(name));
        lacks.then_some(Exclusion::Endpoint)
    }

    /// Why this node of a service that would do will not.
    pub(super) fn excludes_node(&self, service: &Service, node: &Node) -> Option<Exclusion> {
        let is_there = |(key, value): &(Arc<str>, Arc<str>)| {
            let its = node.metadata.get(key).or_else(|| service.metadata.get(key));
            its == Some(&**value)
        };
        // First: of those that would fit, the state says how healthy their zone is.
        if !self.labels.iter().all(is_there) {
            return Some(Exclusion::Label);
        }
        match node.metadata.get(Node::STATE) {
            Some("draining") => Some(Exclusion::Draining),
            Some("down") => Some(Exclusion::Down),
            _ => None,
        }
    }
}

/// Versions are written with or without a `v` in front, and perhaps without the last numbers.
fn in_range(range: &VersionReq, version: &str) -> bool {
    parse(version).is_some_and(|version| range.matches(&version))
}

fn parse(text: &str) -> Option<Version> {
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let (numbers, rest) = text
        .find(['-', '+'])
        .map_or((text, ""), |at| text.split_at(at));
    let missing = 2_usize.checked_sub(numbers.matches('.').count())?;
    Version::parse(&format!("{numbers}{}{rest}", ".0".repeat(missing))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_take_versions_as_people_write_them() {
        let range = VersionReq::parse("^1.2").unwrap();
        for version in ["v1.2.0", "1.2", "v1.10.3", "1.3+build"] {
            assert!(in_range(&range, version), "{version}");
        }
        for version in [
            "v1.1.9",
            "v2.0.0",
            "1",
            "latest",
            "",
            "1.2.3.4",
            "v1.3.0-rc.1",
        ] {
            assert!(!in_range(&range, version), "{version}");
        }
    }
}
