//! How much memory state may take, and where the rest of it goes.

use std::path::{Path, PathBuf};

/// State of a process.
#[derive(Debug, Clone, PartialEq)]
pub struct StateConfig {
    /// Where state lies.
    pub backend: Backend,
    /// Memory for the state of the whole process; its cores share it equally.
    pub memory: Share,
    /// Memory of the process; `None`: what the control group allows, else the physical memory.
    pub limit: Option<u64>,
    /// Where the job keeps its files; `None`: in a directory below `$XDG_STATE_HOME/thalweg` that
    /// is removed at the end.
    pub directory: Option<PathBuf>,
}

/// Where state lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// A table in memory above a cold tier on disk.
    Rocksdb,
    /// A table in memory only.
    Hashmap,
}

/// A part of the process's memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Share {
    /// So many bytes.
    Bytes(u64),
    /// This fraction of its limit.
    Fraction(f64),
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            backend: Backend::Rocksdb,
            memory: Share::Fraction(0.4),
            limit: None,
            directory: None,
        }
    }
}

impl StateConfig {
    /// Bytes for the state of each of `cores`; `None` if the machine does not tell what it has.
    pub fn bytes_per_core(&self, cores: usize) -> Option<usize> {
        let bytes = match self.memory {
            Share::Bytes(bytes) => bytes,
            Share::Fraction(fraction) => {
                (self.limit.or_else(memory_limit)? as f64 * fraction) as u64
            }
        };
        usize::try_from(bytes / cores.max(1) as u64).ok()
    }
}

/// `$XDG_STATE_HOME/thalweg`, by default `~/.local/state/thalweg`; the system's temporary directory
/// where there is no home.
pub(crate) fn state_home() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = || set("HOME").map(|home| Path::new(&home).join(".local/state"));
    let base = set("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
    base.unwrap_or_else(std::env::temp_dir).join("thalweg")
}

/// The control group's limit, else the physical memory.
fn memory_limit() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let physical = read("/proc/meminfo").and_then(|text| physical(&text));
    let own = read("/proc/self/cgroup").and_then(|text| own_group(&text));
    let groups = own.iter().flat_map(|group| Path::new(group).ancestors());
    let limits = groups.filter_map(|group| {
        let group = group.to_str()?.trim_start_matches('/');
        let path = Path::new("/sys/fs/cgroup").join(group).join("memory.max");
        read(path.to_str()?)?.trim().parse().ok()
    });
    let old = read("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    let old = old.and_then(|text| text.trim().parse().ok());
    limits.chain(old).chain(physical).min()
}

/// The total of `/proc/meminfo` in bytes.
fn physical(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The process's group in the unified hierarchy, from `/proc/self/cgroup`.
fn own_group(cgroup: &str) -> Option<String> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_divided_among_the_cores() {
        let config = StateConfig { limit: Some(1000), ..StateConfig::default() };
        assert_eq!(config.bytes_per_core(4), Some(100));
        let config = StateConfig { memory: Share::Bytes(4096), ..config };
        assert_eq!(config.bytes_per_core(2), Some(2048));
        let limit = StateConfig::default().bytes_per_core(1).unwrap();
        assert!(limit > 1 << 20, "{limit}");
    }

    #[test]
    fn the_kernels_files_are_understood() {
        assert_eq!(physical("MemTotal:       16 kB\nMemFree: 1 kB\n"), Some(16 << 10));
        assert_eq!(own_group("1:name=x:/a\n0::/user.slice/b\n").as_deref(), Some("/user.slice/b"));
        assert_eq!((physical("nothing"), own_group("1:x:/a")), (None, None));
    }
}
