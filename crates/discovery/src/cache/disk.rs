use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use vine_registry::{Service, Services};
use xxhash_rust::xxh3::xxh3_64;

/// What is known of services, in a directory: a file for each name, written as a whole or not at all.
///
/// A file is a line of JSON that says what it holds, with a checksum, and then the services as JSON.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
}

/// The form of the files. Those of another are not read.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    vine_snapshot: u32,
    namespace: String,
    name: String,
    /// When the registry said so, in Unix seconds.
    time: u64,
    /// XXH3 of the rest of the file.
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
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Writes what the registry says now.
    pub(super) fn save(&self, namespace: &str, name: &str, services: &Services) -> io::Result<()> {
        let body = serde_json::to_vec(services)?;
        let header = Header {
            vine_snapshot: VERSION,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            time: unix(SystemTime::now()).as_secs(),
            checksum: xxh3_64(&body),
        };
        fs::create_dir_all(&self.folder)?;
        let mut file = NamedTempFile::new_in(&self.folder)?;
        serde_json::to_writer(&mut file, &header)?;
        file.write_all(b"\n")?;
        file.write_all(&body)?;
        file.as_file().sync_all()?;
        file.persist(self.path(namespace, name))?;
        Ok(())
    }

    /// Reads what was written last; nothing if that was never.
    ///
    /// # Errors
    /// When the file can't be read or is damaged.
    pub(super) fn load(&self, namespace: &str, name: &str) -> io::Result<Option<Saved>> {
        match fs::read(self.path(namespace, name)) {
            Ok(bytes) => read(&bytes, namespace, name).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// So that people can find it, and no two names share one.
    pub(super) fn path(&self, namespace: &str, name: &str) -> PathBuf {
        let readable: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '.' || c == '-' {
                    c
                } else {
                    '_'
                }
            })
            .take(64)
            .collect();
        let hash = xxh3_64(format!("{namespace}\0{name}").as_bytes());
        Path::new(&self.folder).join(format!("{readable}-{hash:016x}.json"))
    }
}

fn read(bytes: &[u8], namespace: &str, name: &str) -> io::Result<Saved> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let end = bytes.iter().position(|&byte| byte == b'\n');
    let (header, body) = bytes.split_at(end.ok_or_else(|| damaged("it is not whole"))?);
    let header: Header = serde_json::from_slice(header)?;
    let body = &body[1..];
    if header.vine_snapshot != VERSION {
        return Err(damaged("it is of another version"));
    }
    if header.namespace != namespace || header.name != name {
        return Err(damaged("it is of another service"));
    }
    if header.checksum != xxh3_64(body) {
        return Err(damaged("its checksum is wrong"));
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

fn unix(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use vine_registry::Node;

    use super::*;

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path().join("made/when/needed"));
        assert!(disk.load("vine", "a/ü").unwrap().is_none());
        let service = Service::new("a/ü", "v1")
            .with_namespace("vine")
            .with_node(Node::new("n", "10.0.0.7:80").with_metadata([("os", "linux")]));
        let services: Services = [service].into_iter().collect();
        disk.save("vine", "a/ü", &services).unwrap();
        let saved = disk.load("vine", "a/ü").unwrap().unwrap();
        assert_eq!(saved.services, services);
        assert!(saved.age < Duration::from_secs(60));
        assert!(disk.load("other", "a/ü").unwrap().is_none());
        assert!(disk.load("vine", "a/_").unwrap().is_none());
    }

    #[test]
    fn damaged_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path().into());
        let service = Service::new("a", "v1").with_namespace("vine");
        let service = service.with_node(Node::new("n", "10.0.0.7:80"));
        disk.save("vine", "a", &[service].into_iter().collect())
            .unwrap();
        let path = disk.path("vine", "a");
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            fs::write(&path, &whole[..at]).unwrap();
            assert!(disk.load("vine", "a").is_err(), "cut at {at}");
        }
        let body = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        for at in body..whole.len() {
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
