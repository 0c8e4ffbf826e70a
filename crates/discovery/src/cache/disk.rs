use std::{
    fs, io,
    io::Write,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tempfile::Builder;
use vine_registry::{Registry, Service, Services, Url};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// What is known of services, in a directory: a file for each service of a registry that has nodes, written
/// as a whole or not at all.
///
/// A file is a line of JSON that says what it holds, with a checksum, and then the services as JSON.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    /// Which registry said so: its engine and addresses.
    registry: String,
    /// What is of no use any more was removed.
    is_swept: AtomicBool,
}

/// The form of the files. Those of another are not read.
const VERSION: u32 = 1;

/// A service that nobody has asked for this long has no file any more.
const KEEP: Duration = Duration::from_secs(30 * 24 * 3_600);

/// What is being written, and what a process left that was killed meanwhile.
const DRAFT: &str = ".vine-";

#[derive(Serialize, Deserialize)]
struct Header {
    vine_snapshot: u32,
    registry: String,
    namespace: String,
    name: String,
    /// When the registry said so, in Unix seconds.
    time: u64,
    /// XXH3 of the time and the rest of the file.
    checksum: u64,
}

/// What a file held.
#[derive(Debug)]
pub(super) struct Saved {
    pub(super) services: Services,
    /// How long ago the registry said so, by the clocks of then and now.
    pub(super) age: Duration,
}

impl Disk {
    pub(super) fn new(folder: PathBuf, registry: &dyn Registry) -> Self {
        let addrs = registry.options().addrs.iter();
        let mut addrs: Vec<_> = addrs.map(|address| Url::masked(address)).collect();
        addrs.sort_unstable();
        Self {
            folder,
            registry: [registry.name(), &*addrs.join(",")].join(" "),
            is_swept: AtomicBool::new(false),
        }
    }

    /// Writes what the registry says now. Of a service without nodes nothing is left.
    pub(super) fn save(&self, namespace: &str, name: &str, services: &Services) -> io::Result<()> {
        let path = self.path(namespace, name);
        if services.is_empty() {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let body = serde_json::to_vec(services)?;
        let time = unix(SystemTime::now()).as_secs();
        let header = Header {
            vine_snapshot: VERSION,
            registry: self.registry.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            time,
            checksum: checksum(time, &body),
        };
        fs::create_dir_all(&self.folder)?;
        if !self.is_swept.swap(true, Ordering::Relaxed) {
            self.sweep();
        }
        let mut file = Builder::new().prefix(DRAFT).tempfile_in(&self.folder)?;
        serde_json::to_writer(&mut file, &header)?;
        file.write_all(b"\n")?;
        file.write_all(&body)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }

    /// Reads what was written last; nothing if that was never.
    ///
    /// # Errors
    /// When the file can't be read or is damaged.
    pub(super) fn load(&self, namespace: &str, name: &str) -> io::Result<Option<Saved>> {
        match fs::read(self.path(namespace, name)) {
            Ok(bytes) => self.read(&bytes, namespace, name).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// So that people can find it, and no two services share one.
    pub(super) fn path(&self, namespace: &str, name: &str) -> PathBuf {
        let is_safe = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        let readable = name.chars().map(|c| if is_safe(c) { c } else { '_' });
        let readable: String = readable.take(64).collect();
        let hash = xxh3_64([&*self.registry, namespace, name].join("\0").as_bytes());
        self.folder.join(format!("{readable}-{hash:016x}.json"))
    }

    fn read(&self, bytes: &[u8], namespace: &str, name: &str) -> io::Result<Saved> {
        let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let (header, body) = bytes.split_at(end.ok_or_else(|| damaged("it is not whole"))?);
        let header: Header = serde_json::from_slice(header)?;
        let body = &body[1..];
        if header.vine_snapshot != VERSION {
            return Err(damaged("it is of another version"));
        }
        if header.checksum != checksum(header.time, body) {
            return Err(damaged("its checksum is wrong"));
        }
        if header.registry != self.registry || header.namespace != namespace || header.name != name
        {
            return Err(damaged("it is of another service"));
        }
        let services: Vec<Service> = serde_json::from_slice(body)?;
        let is_its = |service: &Service| *service.name == *name && *service.namespace == *namespace;
        if !services.iter().all(is_its) {
            return Err(damaged("it holds another service"));
        }
        let age = unix(SystemTime::now()).saturating_sub(Duration::from_secs(header.time));
        Ok(Saved {
            services: services.into_iter().collect(),
            age,
        })
    }

    /// Removes what nobody has written for long. What can't be removed does no harm.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let is_ours = name.to_str().is_some_and(is_ours);
            let written = entry.metadata().and_then(|file| file.modified());
            let age = written.ok().and_then(|written| written.elapsed().ok());
            if is_ours && age.is_some_and(|age| age > KEEP) {
                let _removed = fs::remove_file(entry.path());
            }
        }
    }
}

/// Whether a file is one of these, by its name: others may lie beside them.
fn is_ours(name: &str) -> bool {
    let hash = |stem: &str| stem.rsplit_once('-').map(|(_, hash)| hash.to_owned());
    let hash = name.strip_suffix(".json").and_then(hash);
    let is_whole = hash
        .is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
    is_whole || name.starts_with(DRAFT)
}

fn checksum(time: u64, body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, time)
}

fn unix(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use vine_registry::{MemoryRegistry, Node, Options};

    use super::*;

    fn disk(folder: impl Into<PathBuf>) -> Disk {
        Disk::new(folder.into(), &MemoryRegistry::new())
    }

    fn services(name: &str) -> Services {
        let node = Node::new("n", "10.0.0.7:80").with_metadata([("os", "linux")]);
        let service = Service::new(name, "v1").with_namespace("vine");
        [service.with_node(node)].into_iter().collect()
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk(folder.path().join("made/when/needed"));
        assert!(disk.load("vine", "a/ü").unwrap().is_none());
        disk.save("vine", "a/ü", &services("a/ü")).unwrap();
        let saved = disk.load("vine", "a/ü").unwrap().unwrap();
        assert_eq!(saved.services, services("a/ü"));
        assert!(saved.age < Duration::from_secs(60));
        assert!(disk.load("other", "a/ü").unwrap().is_none());
        assert!(disk.load("vine", "a/_").unwrap().is_none());
    }

    #[test]
    fn registries_share_a_folder_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |addrs: &[&str]| {
            let options = Options::new().with_addrs(addrs.iter().copied());
            Disk::new(
                folder.path().into(),
                &MemoryRegistry::with_options(options).unwrap(),
            )
        };
        at(&["a:1", "b:2"])
            .save("vine", "s", &services("s"))
            .unwrap();
        assert!(at(&["c:3"]).load("vine", "s").unwrap().is_none());
        assert!(at(&["b:2", "a:1"]).load("vine", "s").unwrap().is_some());
    }

    #[test]
    fn nothing_is_left_of_what_has_no_nodes_or_was_not_asked_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let files = || {
            let files = fs::read_dir(folder.path()).unwrap();
            let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
            names.sort_unstable();
            names
        };
        disk(folder.path())
            .save("vine", "none", &Services::new())
            .unwrap();
        assert!(files().is_empty());
        disk(folder.path())
            .save("vine", "old", &services("old"))
            .unwrap();
        fs::write(folder.path().join(".vine-killed"), "half of it").unwrap();
        fs::write(folder.path().join("notes.json"), "not ours").unwrap();
        for file in files() {
            let file = fs::File::options()
                .write(true)
                .open(folder.path().join(file));
            let old = SystemTime::now() - KEEP - Duration::from_secs(1);
            file.unwrap().set_modified(old).unwrap();
        }
        let disk = disk(folder.path());
        disk.save("vine", "new", &services("new")).unwrap();
        let new = disk.path("vine", "new");
        assert_eq!(files(), [new.file_name().unwrap(), "notes.json".as_ref()]);
        disk.save("vine", "new", &Services::new()).unwrap();
        assert_eq!(files(), ["notes.json"]);
    }

    #[test]
    fn damaged_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk(folder.path());
        disk.save("vine", "a", &services("a")).unwrap();
        let path = disk.path("vine", "a");
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            fs::write(&path, &whole[..at]).unwrap();
            assert!(disk.load("vine", "a").is_err(), "cut at {at}");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).unwrap();
            assert!(disk.load("vine", "a").is_err(), "a bit flipped at {at}");
        }
        let text = String::from_utf8(whole).unwrap();
        let newer = text.replace("\"vine_snapshot\":1", "\"vine_snapshot\":2");
        fs::write(&path, newer).unwrap();
        assert!(disk.load("vine", "a").is_err());
    }
}
