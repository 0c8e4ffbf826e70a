//! The file: who registered what, until when.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use vine::{Error, NodeRef, Result, Service, Services};

use super::NAME;

/// How long a registration without a ttl outlives its process. While that lives, it renews it.
pub(super) const ORPHANED: Duration = Duration::from_secs(30);

/// A file that is read whole and replaced whole.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
}

/// What stands in the file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Contents {
    /// Counts the changes.
    revision: u64,
    nodes: Vec<Entry>,
}

/// One node, registered.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// The handle that registered it last.
    owner: String,
    /// The revision that changed it last.
    changed: u64,
    /// When it ends, in Unix milliseconds.
    expires: u64,
    /// The service with just this node.
    service: Service,
}

/// A handle, and what it has registered.
#[derive(Debug)]
pub(super) struct Holder {
    /// Its name in the file, unlike any other one.
    pub(super) owner: String,
    /// The nodes that it registered; true for those that somebody else has taken over.
    nodes: HashMap<NodeRef, bool>,
}

impl Store {
    pub(super) fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
        }
    }

    /// What is registered now.
    pub(super) fn load(&self) -> Result<Contents> {
        Contents::parse(&self.text()?)
    }

    /// What the file says, to the letter; nothing without a file.
    pub(super) fn text(&self) -> Result<String> {
        match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            text => text.map_err(|error| self.unavailable(&error)),
        }
    }

    /// Changes what is registered, alone among all processes; not at all if that gives an error.
    pub(super) fn change(&self, change: impl FnOnce(&mut Contents) -> Result<()>) -> Result<()> {
        // The lock is a file of its own, since the other one is replaced. Closing it unlocks it.
        let lock =
            fs::File::create(self.beside("lock")).map_err(|error| self.unavailable(&error))?;
        fs4::FileExt::lock(&lock).map_err(|error| self.unavailable(&error))?;
        let mut contents = self.load()?;
        contents.revision += 1;
        change(&mut contents)?;
        self.replace(&contents)
            .map_err(|error| self.unavailable(&error))
    }

    fn replace(&self, contents: &Contents) -> io::Result<()> {
        let new = self.beside("new");
        fs::write(&new, serde_json::to_vec_pretty(contents)?)?;
        fs::rename(new, &self.path)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".");
        path.push(suffix);
        path.into()
    }

    fn unavailable(&self, error: &io::Error) -> Error {
        Error::unavailable(NAME, format!("{}: {error}", self.path.display()))
    }
}

impl Contents {
    pub(super) fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut contents: Self = serde_json::from_str(text).map_err(|error| Error::Decode {
            what: "the registry's file".into(),
            source: Arc::new(error),
        })?;
        let now = now();
        contents.nodes.retain(|entry| entry.expires > now);
        Ok(contents)
    }

    /// How long it is until something ends.
    pub(super) fn next_end(&self) -> Option<Duration> {
        let next = self.nodes.iter().map(|entry| entry.expires).min()?;
        Some(Duration::from_millis(next.saturating_sub(now())))
    }

    /// The services that are wanted, with their nodes merged.
    pub(super) fn services(&self, wanted: impl Fn(&Service) -> bool) -> Services {
        let mut versions = BTreeMap::<_, Vec<&Entry>>::new();
        for entry in self.nodes.iter().filter(|entry| wanted(&entry.service)) {
            let Service {
                namespace,
                name,
                version,
                ..
            } = &entry.service;
            versions
                .entry((namespace, name, version))
                .or_default()
                .push(entry);
        }
        let merged = versions.into_values().filter_map(|entries| {
            let last = entries.iter().max_by_key(|entry| entry.changed)?;
            let nodes = entries
                .iter()
                .flat_map(|entry| &entry.service.nodes)
                .cloned();
            Some(last.service.clone().with_nodes(nodes))
        });
        merged.collect()
    }

    pub(super) fn register(&mut self, holder: &mut Holder, service: &Service) -> Result<()> {
        for node in &service.nodes {
            let key = NodeRef::of(service, Arc::clone(&node.id));
            let taken = self
                .find(&key)
                .is_some_and(|entry| entry.owner != holder.owner);
            let lost = holder.nodes.get_mut(&key);
            if lost.is_some_and(|lost| {
                *lost |= taken;
                *lost
            }) {
                let (name, id) = (key.service, key.id);
                return Err(Error::Replaced { name, id });
            }
        }
        let revision = self.revision;
        for node in &service.nodes {
            let key = NodeRef::of(service, Arc::clone(&node.id));
            let service = service.clone().with_nodes([Arc::clone(node)]);
            let mut new = Entry {
                owner: holder.owner.clone(),
                changed: revision,
                // One more, for `now` leaves out what is less than a millisecond.
                expires: now() + service.ttl.unwrap_or(ORPHANED).as_millis() as u64 + 1,
                service,
            };
            holder.nodes.insert(key.clone(), false);
            match self.find(&key) {
                Some(entry) => {
                    if entry.owner == new.owner && entry.service == new.service {
                        new.changed = entry.changed;
                    }
                    *entry = new;
                }
                None => self.nodes.push(new),
            }
        }
        Ok(())
    }

    pub(super) fn deregister(
        &mut self,
        holder: &mut Holder,
        service: &Service,
        force: bool,
    ) -> Result<()> {
        let all = service.nodes.is_empty();
        let named = |key: &NodeRef| {
            (&key.namespace, &key.service) == (&service.namespace, &service.name)
                && (all || service.nodes.get(&key.id).is_some())
        };
        let ends = |entry: &Entry| named(&entry.key()) && entry.service.version == service.version;
        let own = |entry: &Entry| entry.owner == holder.owner;
        let foreign = self
            .nodes
            .iter()
            .find(|entry| ends(entry) && !own(entry) && !holder.nodes.contains_key(&entry.key()));
        if let Some(foreign) = foreign.filter(|_| !all && !force) {
            let NodeRef {
                service: name, id, ..
            } = foreign.key();
            return Err(Error::NotOwner { name, id });
        }
        self.nodes
            .retain(|entry| !(ends(entry) && (force || own(entry))));
        let left: Vec<_> = self
            .nodes
            .iter()
            .filter(|entry| own(entry))
            .map(Entry::key)
            .collect();
        holder
            .nodes
            .retain(|key, _| !named(key) || left.contains(key));
        Ok(())
    }

    /// Ends what a handle holds.
    pub(super) fn remove_all(&mut self, holder: &Holder) {
        self.nodes.retain(|entry| entry.owner != holder.owner);
    }

    /// Keeps what a living process has registered without a ttl.
    pub(super) fn renew(&mut self, owner: &str) {
        let own = self.nodes.iter_mut().filter(|entry| entry.owner == owner);
        for entry in own.filter(|entry| entry.service.ttl.is_none()) {
            entry.expires = now() + ORPHANED.as_millis() as u64;
        }
    }

    fn find(&mut self, key: &NodeRef) -> Option<&mut Entry> {
        self.nodes.iter_mut().find(|entry| entry.key() == *key)
    }
}

impl Entry {
    fn key(&self) -> NodeRef {
        let id = self.service.nodes.nth(0).map(|node| Arc::clone(&node.id));
        NodeRef::of(&self.service, id.unwrap_or_default())
    }
}

impl Holder {
    pub(super) fn new() -> Self {
        Self {
            owner: format!("{}-{:016x}", std::process::id(), fastrand::u64(..)),
            nodes: HashMap::new(),
        }
    }
}

/// By the clock that all processes of the machine share.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as u64)
}
