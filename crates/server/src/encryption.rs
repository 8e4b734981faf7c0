//! The keys of encryption at rest, as the settings name them. Reads key files and the environment once, at the start; never
//! tells a key to anybody.

use std::fmt;
use std::path::{Path, PathBuf};

use torc_persist::seal::{Algorithm, Keys, MasterKey};

use crate::config::Config;

/// Why the keys can't be had. Displays as one line, without a key.
#[derive(Debug, PartialEq, Eq)]
pub struct EncryptionError(String);

impl fmt::Display for EncryptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EncryptionError {}

/// Where keys are. The first one that there is, file or variable, is the key of new files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPlaces {
    pub file: Option<PathBuf>,
    /// Name of a variable.
    pub env: Option<String>,
    pub old_files: Vec<PathBuf>,
}

impl KeyPlaces {
    fn of(config: &Config) -> KeyPlaces {
        let env = config.encryption_key_env();
        KeyPlaces {
            file: config.encryption_key_file(),
            env: (!env.is_empty()).then(|| env.to_owned()),
            old_files: config.encryption_old_key_files().split_whitespace().map(PathBuf::from).collect(),
        }
    }

    /// The current key, and the old ones.
    fn read(&self) -> Result<(Option<MasterKey>, Vec<MasterKey>), EncryptionError> {
        let current = match (&self.file, &self.env) {
            (Some(_), Some(_)) => {
                return Err(EncryptionError(
                    "a key is wanted from a file and from a variable: name one".into(),
                ));
            }
            (Some(file), None) => Some(key_of_file(file)?),
            (None, Some(name)) => Some(key_of_variable(name)?),
            (None, None) => None,
        };
        let old = self.old_files.iter().map(|file| key_of_file(file)).collect::<Result<_, _>>()?;
        Ok((current, old))
    }

    /// Keys to read files with.
    pub fn for_reading(&self) -> Result<Keys, EncryptionError> {
        let (current, old) = self.read()?;
        Ok(Keys::for_reading(current.into_iter().chain(old).collect()))
    }
}

/// The keys of this configuration. With encryption off, keys that are named still open files of before.
pub fn keys(config: &Config) -> Result<Keys, EncryptionError> {
    let places = KeyPlaces::of(config);
    if !config.encryption_enabled() {
        return places.for_reading();
    }
    let algorithm = match config.encryption_algorithm() {
        "chacha20-poly1305" => Algorithm::ChaCha20Poly1305,
        _ => Algorithm::Aes256Gcm,
    };
    let (current, old) = places.read()?;
    let current = current.ok_or_else(|| {
        EncryptionError(
            "encryption-enabled is set, and neither encryption-key-file nor encryption-key-env names a key"
                .into(),
        )
    })?;
    Ok(Keys::new(algorithm, current, old))
}

fn key_of_file(path: &Path) -> Result<MasterKey, EncryptionError> {
    let shown = path.display();
    let bytes = std::fs::read(path)
        .map_err(|error| EncryptionError(format!("the key file {shown} cannot be read: {error}")))?;
    MasterKey::parse(&bytes)
        .map_err(|error| EncryptionError(format!("the key file {shown} is no key: {error}")))
}

fn key_of_variable(name: &str) -> Result<MasterKey, EncryptionError> {
    let text = std::env::var(name)
        .map_err(|_| EncryptionError(format!("the variable {name}, which should hold a key, is not set")))?;
    MasterKey::parse(text.as_bytes())
        .map_err(|error| EncryptionError(format!("the variable {name} holds no key: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(args: &[&str]) -> Config {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        Config::load(&args, []).expect("sound settings").config
    }

    fn key_file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("torc-key-{}-{name}", std::process::id()));
        std::fs::write(&path, text).expect("it can be written");
        path
    }

    #[test]
    fn keys_come_from_where_the_settings_say() {
        let (new, old) = (key_file("new", &"ab".repeat(32)), key_file("old", &"cd".repeat(32)));
        let wrong = key_file("wrong", "secret");
        let (new, old, wrong) =
            (new.to_str().expect("utf-8"), old.to_str().expect("utf-8"), wrong.to_str().expect("utf-8"));
        assert!(!keys(&configured(&[])).expect("none are wanted").seals());
        let on = ["--encryption-enabled", "yes", "--encryption-key-file", new];
        assert!(keys(&configured(&on)).expect("a key is there").seals());
        let off = ["--encryption-key-file", new, "--encryption-old-key-files", old];
        assert!(!keys(&configured(&off)).expect("keys are there").seals());
        let error = |args: &[&str]| keys(&configured(args)).expect_err("no keys").to_string();
        assert!(error(&["--encryption-enabled", "yes"]).contains("neither"));
        assert!(error(&["--encryption-key-file", "/nowhere/key"]).contains("/nowhere/key cannot be read"));
        let text = error(&["--encryption-key-file", wrong]);
        assert!(text.contains("is no key") && !text.contains("secret"), "{text}");
        assert!(error(&["--encryption-key-env", "TORC_NO_SUCH_KEY"]).contains("TORC_NO_SUCH_KEY"));
        assert!(error(&["--encryption-key-env", "X", "--encryption-key-file", new]).contains("name one"));
        [new, old, wrong].iter().for_each(|path| std::fs::remove_file(path).expect("it is there"));
    }
}
