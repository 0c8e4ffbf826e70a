//! What services there are, wherever they are told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use vine_registry::{ListOptions, Namespaces, Options, Registry, Result, ServiceSummary, Wait};

use super::{Cause, Finding, judge::finding};
use crate::{Dialect, MdnsOptions, MdnsRegistry};

/// How long services are listed.
const PATIENCE: Duration = Duration::from_millis(1_400);
/// The domains of Go processes that name none: of Vine and of go-micro.
const GO_DOMAINS: [&str; 2] = ["vine", "micro"];

type Name = (Arc<str>, Arc<str>);

/// Services by where they were seen.
#[derive(Debug)]
pub(super) struct Services {
    /// With the options as they are.
    seen: BTreeSet<Name>,
    /// By another dialect or in another domain of it, and what the options should be then.
    elsewhere: Vec<(Hidden, BTreeSet<Name>)>,
}

/// What nobody sees who has these options.
#[derive(Clone, Debug)]
struct Hidden {
    what: String,
    remedy: String,
    options: MdnsOptions,
}

/// Lists everything, in every dialect.
pub(super) async fn list(options: &Options, mdns: &MdnsOptions) -> Result<Services> {
    let mut hidden = vec![Hidden {
        what: "by DNS-SD alone".to_owned(),
        remedy: "--registry.mdns.dialect=both".to_owned(),
        options: plain(mdns, Dialect::DnsSd),
    }];
    let go = plain(mdns, Dialect::Vine);
    hidden.push(Hidden {
        what: "in the Go dialect alone".to_owned(),
        remedy: "--registry.mdns.dialect=both".to_owned(),
        options: go.clone(),
    });
    for domain in GO_DOMAINS {
        hidden.push(Hidden {
            what: format!("in the domain {domain} of the Go dialect"),
            remedy: format!("--registry.mdns.dialect=both --registry.mdns.domain={domain}"),
            options: go.clone().with_domain(domain),
        });
    }
    let elsewhere = async {
        let mut elsewhere = Vec::new();
        let mut running = tokio::task::JoinSet::new();
        for (number, one) in hidden.iter().enumerate() {
            let (options, mdns) = (options.clone(), one.options.clone());
            running.spawn(async move { (number, names(&options, &mdns).await) });
        }
        while let Some(done) = running.join_next().await {
            if let Ok((number, Ok(names))) = done
                && let Some(one) = hidden.get(number)
            {
                elsewhere.push((number, one.clone(), names));
            }
        }
        elsewhere.sort_by_key(|(number, ..)| *number);
        elsewhere
    };
    let (seen, elsewhere) = tokio::join!(names(options, mdns), elsewhere);
    let elsewhere = elsewhere.into_iter().map(|(_, one, names)| (one, names));
    Ok(Services {
        seen: seen?,
        elsewhere: elsewhere.collect(),
    })
}

/// The same network in a dialect, whoever is to be believed.
fn plain(mdns: &MdnsOptions, dialect: Dialect) -> MdnsOptions {
    let mut options = mdns.clone().with_dialect(dialect).with_keys([]);
    options.domain = None;
    options
}

/// The services of all namespaces; none where nothing can be used, which is told elsewhere.
async fn names(options: &Options, mdns: &MdnsOptions) -> Result<BTreeSet<Name>> {
    let registry = MdnsRegistry::new(options.clone(), mdns.clone())?;
    let all = ListOptions::new()
        .with_namespace(Namespaces::All)
        .with_wait(Wait::For(PATIENCE));
    let listed = registry.list_services_with(&all).await.unwrap_or_default();
    registry.close().await?;
    let name = |one: ServiceSummary| (one.namespace, one.name);
    Ok(listed.into_iter().map(name).collect())
}

impl Services {
    /// How many services are seen in the namespace of the options.
    pub(super) fn own(&self, options: &Options) -> usize {
        let own = |(namespace, _): &&Name| *namespace == options.namespace;
        self.seen.iter().filter(own).count()
    }

    pub(super) fn judge(&self, options: &Options, mdns: &MdnsOptions, findings: &mut Vec<Finding>) {
        if self.own(options) == 0 && !self.seen.is_empty() {
            findings.push(self.other_namespaces(options));
        }
        let mut known = self.seen.clone();
        for (hidden, names) in &self.elsewhere {
            let is_same = hidden.options.dialect == mdns.dialect;
            if is_same && hidden.options.domain == mdns.domain && mdns.keys.is_empty() {
                continue;
            }
            let new: Vec<_> = names.difference(&known).cloned().collect();
            // In another domain the namespace is another one, too.
            let told: BTreeSet<_> = known.iter().map(|(_, name)| name).collect();
            let is_new = |(_, name): &&Name| !told.contains(name);
            let list: Vec<_> = new.iter().filter(is_new).map(|(_, name)| &**name).collect();
            if !list.is_empty() && is_same && !mdns.keys.is_empty() {
                findings.push(wrong_key(&list));
            } else if !list.is_empty() {
                findings.push(finding(
                    Cause::Dialect,
                    hidden.options.dialect.to_string(),
                    format!(
                        "{} told {}, which is not understood here",
                        several(&list),
                        hidden.what
                    ),
                    format!("speak it, too: {}", hidden.remedy),
                ));
            }
            known.extend(new);
        }
    }

    fn other_namespaces(&self, options: &Options) -> Finding {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (namespace, _) in &self.seen {
            *counts.entry(namespace).or_default() += 1;
        }
        let most = counts.iter().max_by_key(|(_, count)| **count);
        let most = most.map_or("", |(namespace, _)| *namespace);
        let counts: Vec<_> = counts
            .iter()
            .map(|(namespace, count)| format!("{namespace} ({count})"))
            .collect();
        finding(
            Cause::Namespace,
            &*options.namespace,
            format!(
                "no service is in the namespace {:?}, but there are some in: {}",
                options.namespace,
                counts.join(", ")
            ),
            format!("look there: --registry.namespace={most}, or --all-namespaces"),
        )
    }
}

fn wrong_key(names: &[&str]) -> Finding {
    finding(
        Cause::Key,
        "registry.mdns.key",
        format!(
            "{} told, but not signed with a key that is known here, and so not believed",
            several(names)
        ),
        "give all processes the same --registry.mdns.key; or leave it out to believe everybody",
    )
}

fn several(names: &[&str]) -> String {
    const SHOWN: usize = 3;
    let shown = names.get(..SHOWN.min(names.len())).unwrap_or_default();
    match (names.len(), names.len().saturating_sub(SHOWN)) {
        (1, _) => format!("the service {} is", shown.join("")),
        (_, 0) => format!("the services {} are", shown.join(", ")),
        (_, more) => format!("the services {} and {more} more are", shown.join(", ")),
    }
}
