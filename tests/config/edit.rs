//! Values written back into the text: they arrive, and nothing else moves.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use xswitch::config;
use xswitch::config::edit::{Edit, EditError, SaveError, edit, save};
use xswitch::config::valid::{AdminState, Config};

const FULL: &str = include_str!("../../config/full.toml");

/// The same things, written in other ways.
const OTHERWISE: &str = "service = [\n  { name = \"a\", vip = \"198.18.0.1:80\", \
    backend = [{ address = \"198.18.1.1:80\" }, # first\n    \
    { weight = 4, address = '198.18.1.2:80' , state = \"drain\" }] }, # a\n  \
    { vip = \"198.18.0.2:80\", name = \"b\", backend = [] },\n]\n[switch]\ninterfaces = [\"eth0\"]\n";

const TABLES: &str = "[switch]\r\ninterfaces = [\"eth0\"]\r\n\r\n[[service]] # the only one\r\n  name = \"a\" # its name\r\n  \
vip = \"[2001:db8::1]:80\"\r\n  # why\r\n  state = \"drain\"\r\n    [[service.backend]]\r\n\taddress = \"[2001:0db8:0::0:11]:80\"\r\n\t\
# broken disk\r\n\tstate = \"disabled\"   # since May\r\n\r\n    [[service.backend]]\r\n    address = \"[2001:db8::12]:80\"";

fn parse(text: &str) -> Config {
    config::parse(text, "x.toml").unwrap_or_else(|error| panic!("{text}\n{error}")).config
}

fn service(name: &str, state: AdminState) -> Edit {
    Edit::Service { name: name.into(), state }
}

fn backend(service: &str, address: &str, state: Option<AdminState>, weight: Option<u32>) -> Edit {
    Edit::Backend { service: service.into(), address: address.parse().unwrap(), state, weight }
}

/// What the edits mean.
fn applied(mut config: Config, edits: &[Edit]) -> Config {
    for edit in edits {
        match edit {
            Edit::Service { name, state } => {
                let service = config.services.iter_mut().find(|service| service.name == *name).unwrap();
                service.state = *state;
            }
            Edit::Backend { service, address, state, weight } => {
                let service =
                    config.services.iter_mut().find(|candidate| candidate.name == *service).unwrap();
                let backend =
                    service.backends.iter_mut().find(|backend| backend.address == *address).unwrap();
                backend.state = state.unwrap_or(backend.state);
                backend.weight = weight.unwrap_or(backend.weight);
            }
        }
    }
    config
}

#[test]
fn a_key_that_is_new_stands_below_the_name_and_goes_again() {
    let edits = [backend("web", "198.18.1.13:8443", Some(AdminState::Drain), Some(7))];
    let edited = edit(FULL, &edits).unwrap();
    let wanted = "address = \"198.18.1.13:8443\"\nweight = 7\nstate = \"drain\"\nbackup = true\n";
    assert!(edited.contains(wanted), "{edited}");
    let back =
        edit(&edited, &[backend("web", "198.18.1.13:8443", Some(AdminState::Enabled), Some(1))]).unwrap();
    assert_eq!(back, FULL.replace("13:8443\"\n", "13:8443\"\nweight = 1\n"), "a weight stays written");
    let untouched = edit(FULL, &[backend("web", "198.18.1.13:8443", Some(AdminState::Enabled), Some(1))]);
    assert_eq!(untouched.unwrap(), FULL, "defaults are not written where nothing is");
}

#[test]
fn comments_indents_and_line_ends_stay() {
    let edited = edit(TABLES, &[service("a", AdminState::Enabled)]).unwrap();
    assert_eq!(
        edited,
        TABLES.replace("  state = \"drain\"\r\n", ""),
        "its line goes, the comment above stays"
    );
    let edited = edit(&edited, &[service("a", AdminState::Disabled)]).unwrap();
    assert!(edited.contains("  name = \"a\" # its name\r\n  state = \"disabled\"\r\n  vip"), "{edited}");
    let one = [backend("a", "[2001:db8::11]:80", Some(AdminState::Enabled), None)];
    let edited = edit(TABLES, &one).unwrap();
    assert_eq!(edited, TABLES.replace("\"disabled\"", "\"enabled\""), "a comment on the line keeps it");
    let last = [backend("a", "[2001:db8::12]:80", None, Some(3))];
    assert_eq!(edit(TABLES, &last).unwrap(), format!("{TABLES}\r\n    weight = 3"));
}

#[test]
fn tables_in_braces_are_edited_in_their_place() {
    let edits = [
        backend("a", "198.18.1.1:80", Some(AdminState::Drain), Some(2)),
        backend("a", "198.18.1.2:80", Some(AdminState::Enabled), Some(1)),
        service("b", AdminState::Disabled),
    ];
    let wanted = OTHERWISE
        .replace("\"198.18.1.1:80\"", "\"198.18.1.1:80\", weight = 2, state = \"drain\"")
        .replace(
            "weight = 4, address = '198.18.1.2:80' , state = \"drain\"",
            "weight = 1, address = '198.18.1.2:80' , state = \"enabled\"",
        )
        .replace("\"b\"", "\"b\", state = \"disabled\"");
    assert_eq!(edit(OTHERWISE, &edits).unwrap(), wanted);
}

#[test]
fn what_the_file_does_not_have_is_an_error_that_says_so() {
    let address = "10.0.0.1:80".parse().unwrap();
    let no = |service: &str| edit(FULL, &[backend(service, "10.0.0.1:80", None, None)]).unwrap_err();
    assert_eq!(no("wed"), EditError::NoService("wed".into()));
    assert_eq!(no("echo"), EditError::NoBackend { service: "echo".into(), address, discovers: false });
    let said = no("web").to_string();
    assert!(said.contains("10.0.0.1:80 of service \"web\": discovered backends are changed where"), "{said}");
    let said = edit("[switch", &[service("a", AdminState::Drain)]).unwrap_err().to_string();
    assert!(said.starts_with("the file is not TOML any more: "), "{said}");
}

fn state() -> impl Strategy<Value = AdminState> {
    prop_oneof![Just(AdminState::Enabled), Just(AdminState::Drain), Just(AdminState::Disabled)]
}

/// Something of this configuration, and what it is to be.
fn edits(config: &Config) -> impl Strategy<Value = Vec<Edit>> + use<> {
    let services: Vec<String> = config.services.iter().map(|service| service.name.clone()).collect();
    let backends: Vec<(String, std::net::SocketAddr)> = config
        .services
        .iter()
        .flat_map(|service| service.backends.iter().map(|backend| (service.name.clone(), backend.address)))
        .collect();
    let one = prop_oneof![
        (prop::sample::select(services), state()).prop_map(|(name, state)| Edit::Service { name, state }),
        (prop::sample::select(backends), prop::option::of(state()), prop::option::of(0u32..4)).prop_map(
            |((service, address), state, weight)| Edit::Backend { service, address, state, weight }
        ),
    ];
    prop::collection::vec(one, 1..8)
}

/// The comments, whose text holds no quotes in these files.
fn comments(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_once("# ")).map(|(_, comment)| comment).collect()
}

fn arrives(text: &str, edits: &[Edit]) {
    let edited = edit(text, edits).unwrap();
    assert_eq!(parse(&edited), applied(parse(text), edits), "{edits:?}\n{edited}");
    assert_eq!(comments(&edited), comments(text));
    assert_eq!(edit(&edited, edits).map(|again| parse(&again)), Ok(parse(&edited)), "twice is once");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exactly_these_fields_change(edits in edits(&parse(FULL))) {
        arrives(FULL, &edits);
    }

    #[test]
    fn exactly_these_fields_change_with_other_line_ends(edits in edits(&parse(TABLES))) {
        arrives(TABLES, &edits);
    }

    #[test]
    fn exactly_these_fields_change_in_braces(edits in edits(&parse(OTHERWISE))) {
        arrives(OTHERWISE, &edits);
    }
}

/// A folder with the full example in it.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full.toml");
    std::fs::write(&path, FULL).unwrap();
    (folder, path)
}

fn drained() -> Vec<Edit> {
    vec![service("web", AdminState::Drain)]
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_keeps_its_mode_and_a_link_stays_a_link() {
    let (folder, path) = folder();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let link = folder.path().join("link.toml");
    std::os::unix::fs::symlink("full.toml", &link).unwrap();
    save(&link, &drained()).unwrap();
    assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("full.toml"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), edit(FULL, &drained()).unwrap());
    assert_eq!(names(folder.path()), ["full.toml", "link.toml"], "nothing is left behind");
}

#[test]
fn a_file_that_could_not_be_used_is_left_as_it_is() {
    let (folder, path) = folder();
    let broken = FULL.replace("ring_size = 2048", "ring_size = 2047");
    std::fs::write(&path, &broken).unwrap();
    let error = save(&path, &drained()).unwrap_err();
    assert!(
        matches!(error, SaveError::Invalid(_)) && error.to_string().contains("2047 is not a power of two")
    );
    let error = save(&path, &[service("wed", AdminState::Drain)]).unwrap_err().to_string();
    assert!(error.ends_with("full.toml: the file has no service \"wed\""), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), broken);
    assert_eq!(names(folder.path()), ["full.toml"]);
    let error = save(&folder.path().join("none.toml"), &drained()).unwrap_err().to_string();
    assert!(error.contains("none.toml: cannot be found: "), "{error}");
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let (_folder, path) = folder();
    let before = std::fs::metadata(&path).unwrap().modified().unwrap();
    save(&path, &[service("web", AdminState::Enabled)]).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), before);
}
