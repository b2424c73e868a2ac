//! The token without which the page changes nothing: what a file holds, read at start and at every reload.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use axum::http::{HeaderMap, header};

use crate::config::Loaded;
use crate::config::edit::Edit;
use crate::control::ConfigFile;

/// Shorter ones can be guessed; the file's length is bounded before it is read.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=1024;
/// Whom the file's mode must keep out: others than its owner and group.
const OTHERS: u32 = 0o007;

/// Why the file cannot be used. It never says what the file holds.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("`status_token_file` {0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// Everybody may read it.
    #[error("`status_token_file` {0} may be read by others: chmod o= {0}")]
    Open(PathBuf),
    /// It holds something else.
    #[error(
        "`status_token_file` {0} holds no token of 16 to 1024 printable characters without spaces: \
         openssl rand -hex 32 > {0}"
    )]
    Unusable(PathBuf),
}

/// The token. It is not shown, not even by `Debug`.
pub struct Token {
    path: Option<PathBuf>,
    token: RwLock<Option<Box<[u8]>>>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What is to be said to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It has the token.
    Right,
    /// It has another one.
    Wrong,
    /// It has none.
    Missing,
    /// There is none to be had.
    ReadOnly,
}

impl Token {
    /// What this file holds; without one, nobody has a token.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the file, and which command mends it.
    pub fn read(path: Option<&Path>) -> Result<Self, TokenError> {
        let token = path.map(read).transpose()?;
        Ok(Self { path: path.map(Path::to_owned), token: RwLock::new(token) })
    }

    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        self.token.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Reads the file again. While it cannot be used, nobody has a token.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    pub fn refresh(&self) -> Result<(), TokenError> {
        let Some(path) = &self.path else { return Ok(()) };
        let (token, problem) = match read(path) {
            Ok(token) => (Some(token), Ok(())),
            Err(error) => (None, Err(error)),
        };
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
        problem
    }

    /// Judges a request by its `Authorization: Bearer` (RFC 6750 §2.1).
    pub fn judge(&self, headers: &HeaderMap) -> Judgement {
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner);
        let Some(token) = token.as_deref() else { return Judgement::ReadOnly };
        let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let Some(given) = given else { return Judgement::Missing };
        match given.split_at_checked(BEARER.len()) {
            Some((scheme, given)) if scheme.eq_ignore_ascii_case(BEARER) && same(given, token) => {
                Judgement::Right
            }
            _ => Judgement::Wrong,
        }
    }
}

const BEARER: &[u8] = b"Bearer ";

/// Takes as long wherever they differ; how long the token is, is no secret.
fn same(given: &[u8], token: &[u8]) -> bool {
    if given.len() != token.len() {
        return false;
    }
    let differences = given.iter().zip(token).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    std::hint::black_box(differences) == 0
}

fn read(path: &Path) -> Result<Box<[u8]>, TokenError> {
    let failed = |error| TokenError::Unreadable(path.to_owned(), error);
    let found = std::fs::metadata(path).map_err(failed)?;
    if found.permissions().mode() & OTHERS != 0 {
        return Err(TokenError::Open(path.to_owned()));
    }
    let unusable = || TokenError::Unusable(path.to_owned());
    // A device would be read forever.
    if !found.is_file() || found.len() > *LENGTHS.end() as u64 + 2 {
        return Err(unusable());
    }
    let text = std::fs::read(path).map_err(failed)?;
    let token = text.trim_ascii_end();
    if !LENGTHS.contains(&token.len()) || !token.iter().all(u8::is_ascii_graphic) {
        return Err(unusable());
    }
    Ok(token.into())
}

/// The configuration's file, with which the token's is read again.
pub struct WithToken {
    /// The file.
    pub file: Box<dyn ConfigFile>,
    /// The token.
    pub token: std::sync::Arc<Token>,
}

impl ConfigFile for WithToken {
    fn refresh(&mut self) -> Option<String> {
        let problem = self.token.refresh().err()?;
        let said = format!("the status page only shows from now on: {problem}");
        tracing::warn!("{said}");
        Some(said)
    }

    fn load(&mut self) -> Result<Loaded, String> {
        self.file.load()
    }

    fn save(&mut self, edits: &[Edit]) -> Result<(), String> {
        self.file.save(edits)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn file(text: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    fn judged(token: &Token, header: Option<&str>) -> Judgement {
        let headers = header.map(|value| (header::AUTHORIZATION, value.parse().unwrap()));
        token.judge(&headers.into_iter().collect())
    }

    #[test]
    fn only_the_token_is_right() {
        let (_folder, path) = file(format!("{SECRET}\n").as_bytes(), 0o640);
        let token = Token::read(Some(&path)).unwrap();
        assert_eq!(judged(&token, Some("Bearer 0123456789abcdef")), Judgement::Right);
        assert_eq!(judged(&token, Some("bearer 0123456789abcdef")), Judgement::Right);
        let wrong = [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcde",
            "Basic 0123456789abcdef",
        ];
        for wrong in wrong {
            assert_eq!(judged(&token, Some(wrong)), Judgement::Wrong, "{wrong:?}");
        }
        assert_eq!(judged(&token, None), Judgement::Missing);
        assert!(!format!("{token:?}").contains(SECRET));
    }

    #[test]
    fn without_a_file_nobody_has_a_token() {
        let token = Token::read(None).unwrap();
        assert!(!token.is_set());
        assert_eq!(judged(&token, Some("Bearer ")), Judgement::ReadOnly);
    }

    #[test]
    fn files_that_others_read_or_that_hold_no_token_are_errors_that_do_not_tell() {
        let long = [b'x'; 2000];
        let cases: [(&[u8], u32, &str); 6] = [
            (SECRET.as_bytes(), 0o644, "chmod o="),
            (b"short-secret", 0o600, "openssl rand"),
            (b"two words of a secret", 0o600, "openssl rand"),
            (b"", 0o600, "openssl rand"),
            (b"\xFF\xFE0123456789abcdef", 0o600, "openssl rand"),
            (&long, 0o600, "openssl rand"),
        ];
        for (text, mode, help) in cases {
            let (_folder, path) = file(text, mode);
            let error = Token::read(Some(&path)).unwrap_err().to_string();
            assert!(error.contains(help), "{error}");
            assert!(!error.contains("secret") && !error.contains(SECRET), "{error}");
        }
        let error = Token::read(Some(Path::new("/nowhere/token"))).unwrap_err().to_string();
        assert!(error.starts_with("`status_token_file` /nowhere/token: "), "{error}");
    }

    #[test]
    fn a_new_token_counts_after_a_refresh_and_a_lost_one_opens_nothing() {
        let (_folder, path) = file(SECRET.as_bytes(), 0o600);
        let token = Token::read(Some(&path)).unwrap();
        std::fs::write(&path, "fedcba9876543210").unwrap();
        token.refresh().unwrap();
        assert_eq!(judged(&token, Some("Bearer 0123456789abcdef")), Judgement::Wrong);
        assert_eq!(judged(&token, Some("Bearer fedcba9876543210")), Judgement::Right);
        std::fs::remove_file(&path).unwrap();
        token.refresh().unwrap_err();
        assert_eq!(judged(&token, Some("Bearer fedcba9876543210")), Judgement::ReadOnly);
    }

    #[test]
    fn a_look_at_the_configuration_leaves_the_token_and_a_reload_says_what_is_wrong_with_it() {
        let (_folder, path) = file(SECRET.as_bytes(), 0o600);
        let token = std::sync::Arc::new(Token::read(Some(&path)).unwrap());
        let config = || Err::<crate::config::valid::Config, _>("line 3".to_owned());
        let mut both = WithToken { file: Box::new(config), token: std::sync::Arc::clone(&token) };
        std::fs::remove_file(&path).unwrap();
        both.load().unwrap_err();
        assert!(token.is_set());
        let said = both.refresh().unwrap();
        assert!(said.contains("only shows") && !token.is_set(), "{said}");
    }
}
