//! Copies of the data of a cluster, to bring back an old state.

use std::{fs, path::Path};

use crate::{Cluster, folder::Folder};

/// The data directories of a cluster as they were.
#[derive(Debug)]
pub struct Saved(Folder);

impl Cluster {
    /// Copies the data of every member. Those that run are paused meanwhile, so the copy is what a
    /// power failure would have left.
    #[must_use]
    pub fn save(&self) -> Saved {
        let saved = Folder::new("vine-etcd-saved-");
        let running = || self.members.iter().filter(|member| member.is_running());
        running().for_each(|member| member.pause());
        for member in &self.members {
            copy(&member.data(), &saved.path().join(&member.name));
        }
        running().for_each(|member| member.resume());
        Saved(saved)
    }

    /// Puts an old state in the place of the data; the members must have been killed.
    pub fn restore(&mut self, saved: &Saved) {
        for member in &self.members {
            assert!(!member.is_running(), "{} runs", member.name);
            fs::remove_dir_all(member.data()).unwrap();
            copy(&saved.0.path().join(&member.name), &member.data());
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    // etcd refuses directories that others may read.
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
