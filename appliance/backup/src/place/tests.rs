//! A restore that is interrupted anywhere comes to its end the next time.

use super::*;
use crate::archive::{About, Destination};
use crate::manifest::{Elsewhere, Manifest};
use crate::name::Name;
use crate::staging::Staging;

struct World {
    _folder: tempfile::TempDir,
    state: PathBuf,
    config: PathBuf,
    key: PathBuf,
    other: PathBuf,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().to_owned();
        let (state, etc) = (top.join("state"), top.join("etc"));
        fs::create_dir_all(state.join("spool/log")).unwrap();
        fs::create_dir_all(&etc).unwrap();
        let world = Self {
            _folder: folder,
            state,
            config: etc.join("postern.toml"),
            key: etc.join("tls/key.pem"),
            other: top.join("other/list"),
        };
        for (path, text) in [("loop.key", "old"), ("spool/log/1.log", "old"), ("gone", "old"), ("lock", "")] {
            fs::write(world.state.join(path), text).unwrap();
        }
        fs::write(&world.config, "old").unwrap();
        world
    }

    fn staged(&self) -> Staging {
        let mut staging = Staging::begin(&self.state).unwrap();
        let manifest = Manifest {
            format: 1,
            version: String::new(),
            hostname: String::new(),
            made: 0,
            state_dir: self.state.clone(),
            elsewhere: vec![Elsewhere { path: self.other.clone() }],
            octets: 100,
        };
        staging.begin(&manifest).unwrap();
        for name in [
            "config/postern.toml",
            "beside/tls/key.pem",
            "elsewhere/0",
            "state/loop.key",
            "state/spool/log/2.log",
        ] {
            let about = About { mode: 0o640, user: "", group: "" };
            staging.file(&Name::parse(name.as_bytes()).unwrap(), &about, &mut &b"new"[..]).unwrap();
        }
        staging
    }

    /// All of the new is there, all of the old aside.
    fn check(&self, done: &Done) {
        let text = |path: &Path| {
            fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        for path in
            [&self.config, &self.key, &self.state.join("loop.key"), &self.state.join("spool/log/2.log")]
        {
            assert_eq!(text(path), "new", "{}", path.display());
        }
        let aside = done.aside.clone().unwrap();
        for path in ["loop.key", "gone", "spool/log/1.log"] {
            assert_eq!(text(&aside.join(path)), "old", "{path}");
        }
        assert_eq!(text(&self.config.with_file_name("postern.toml.before-restore-9")), "old");
        assert!(!self.state.join("gone").exists() && !self.state.join("spool/log/1.log").exists());
        assert!(self.state.join("lock").exists() && !unfinished(&self.state));
    }
}

#[test]
fn the_new_takes_its_place_and_the_old_is_put_aside() {
    let world = World::new();
    let staging = world.staged();
    let plan = staging.plan(9, Some(&world.config), false);
    staging.commit(&plan).unwrap();
    assert!(unfinished(&world.state) && plan_of(&world.state).unwrap() == plan);
    let done = place(&world.state, &plan).unwrap();
    world.check(&done);
    assert_eq!((done.left, world.other.exists()), (vec![world.other.clone()], false));
}

#[test]
fn files_elsewhere_come_when_they_are_wanted_and_none_without_the_config() {
    let world = World::new();
    let staging = world.staged();
    let plan = staging.plan(9, Some(&world.config), true);
    staging.commit(&plan).unwrap();
    let done = place(&world.state, &plan).unwrap();
    world.check(&done);
    assert!(world.other.exists() && done.left.is_empty());
    let world = World::new();
    let staging = world.staged();
    let plan = staging.plan(9, None, true);
    staging.commit(&plan).unwrap();
    place(&world.state, &plan).unwrap();
    assert_eq!(fs::read_to_string(&world.config).unwrap(), "old");
    assert!(!world.key.exists() && fs::read_to_string(world.state.join("loop.key")).unwrap() == "new");
}

#[test]
fn what_was_not_committed_changes_nothing_and_goes() {
    let world = World::new();
    drop(world.staged());
    assert!(!world.state.join(NEW).exists() && fs::read_to_string(&world.config).unwrap() == "old");
    // A process that was killed leaves it; the next one removes it.
    std::mem::forget(world.staged());
    assert!(world.state.join(NEW).exists() && !unfinished(&world.state));
    drop(world.staged());
}

/// The steps between which power can go, each done by hand up to there.
#[test]
fn wherever_it_was_interrupted_it_comes_to_its_end() {
    type Step = fn(&World, &Plan);
    let steps: [Step; 5] = [
        |_, _| {},
        |world, plan| {
            put(
                &world.state.join(READY).join(&plan.outside[0].from),
                &plan.outside[0],
                9,
                &mut Done::default(),
            )
            .unwrap()
        },
        |world, _| {
            let aside = world.state.join("before-restore-9");
            fs::create_dir(&aside).unwrap();
            fs::rename(world.state.join("gone"), aside.join("gone")).unwrap();
        },
        |world, _| {
            put_aside(&world.state, &world.state.join("before-restore-9")).unwrap();
            fs::rename(world.state.join(READY), world.state.join(PLACING)).unwrap();
        },
        |world, _| {
            fs::rename(world.state.join(PLACING).join("state/loop.key"), world.state.join("loop.key"))
                .unwrap();
        },
    ];
    for count in 0..=steps.len() {
        let world = World::new();
        let staging = world.staged();
        let plan = staging.plan(9, Some(&world.config), false);
        staging.commit(&plan).unwrap();
        steps.iter().take(count).for_each(|step| step(&world, &plan));
        // The config's file goes first; by hand it was done before the state went aside.
        if count == 1 {
            assert!(unfinished(&world.state));
        }
        let plan = plan_of(&world.state).unwrap();
        // Beyond these steps the files outside are in place.
        if count > 3 {
            for file in &plan.outside {
                put(&world.state.join(PLACING).join(&file.from), file, 9, &mut Done::default()).unwrap();
            }
        }
        world.check(&place(&world.state, &plan).unwrap());
    }
}

#[test]
fn a_name_that_is_there_twice_is_refused() {
    let world = World::new();
    let mut staging = world.staged();
    let about = About { mode: 0o600, user: "", group: "" };
    for name in ["state/loop.key", "state/loop.key/x"] {
        let outcome = staging.file(&Name::parse(name.as_bytes()).unwrap(), &about, &mut &b"x"[..]);
        assert!(
            matches!(outcome, Err(BackupError::NotSound(_) | BackupError::File { .. })),
            "{name}: {outcome:?}"
        );
    }
}
