//! Check, delete, copy, put back, move: the commands about a whole site.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;
use site_server::{
    config::{self, Layout, Setting},
    operate::{self, Show},
    store::{DatabaseConfig, ObjectsConfig},
};

#[derive(Subcommand)]
pub(super) enum Operate {
    /// Prints every setting in use and where it is from. Ends with 1 when one is wrong.
    Config {
        /// The data folder.
        #[arg(long, env = "FUROSHIKI_SITE_DATA")]
        data: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Looks whether all of a site is there: rows against each other, and the bytes of every object and release.
    /// The server may run. Ends with 1 when something is wrong.
    Check {
        /// The data folder.
        #[arg(long, env = "FUROSHIKI_SITE_DATA")]
        data: PathBuf,
        /// Only sizes; no byte is read.
        #[arg(long)]
        quick: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Deletes snapshots that the retention does not keep, objects no record needs and uploads no row names, as the
    /// server does every hour and every day.
    Gc {
        /// The data folder.
        #[arg(long, env = "FUROSHIKI_SITE_DATA")]
        data: PathBuf,
        /// Hours for which something stays that nobody needs. Fewer than 24 only while no server runs.
        #[arg(long, default_value_t = 24)]
        grace_hours: u32,
        /// Deletes nothing; says what would go.
        #[arg(long)]
        dry_run: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Brings a copy of the site in FOLDER up to date; the server may run. The copy holds the site's secrets.
    Backup {
        /// Where the copy is; only what is new is copied.
        folder: PathBuf,
        /// The data folder.
        #[arg(long, env = "FUROSHIKI_SITE_DATA")]
        data: PathBuf,
        /// Also reads all that is in the folder already, and replaces what is damaged.
        #[arg(long)]
        verify: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Makes a site out of a backup, in a folder that has none.
    RestoreBackup {
        /// What `backup` wrote.
        folder: PathBuf,
        /// The data folder of the site that is made.
        #[arg(long, env = "FUROSHIKI_SITE_DATA")]
        data: PathBuf,
        #[command(flatten)]
        home: Home,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Moves rows to another database, or sealed objects to another place; `site.toml` names it when all is there.
    MigrateStore {
        /// The data folder.
        #[arg(long, env = "FUROSHIKI_SITE_DATA")]
        data: PathBuf,
        #[command(flatten)]
        home: Home,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Where rows and objects are to be: in the data folder, if nothing else is said.
#[derive(Args)]
pub(super) struct Home {
    /// Rows in this PostgreSQL database: `postgres://USER@HOST/NAME`. Without it: SQLite in the data folder.
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// File with the password of that database; it is read at every start.
    #[arg(long, value_name = "FILE", requires = "postgres")]
    password_file: Option<PathBuf>,
    /// Sealed objects in this bucket: `https://HOST/BUCKET[/PREFIX]`. Without it: files in the data folder.
    #[arg(long, value_name = "URL", requires_all = ["s3_access_key", "s3_secret_file"])]
    s3: Option<String>,
    /// Name of the key that requests to it are signed with.
    #[arg(long, value_name = "ID", requires = "s3")]
    s3_access_key: Option<String>,
    /// File with the secret of that key; it is read at every start.
    #[arg(long, value_name = "FILE", requires = "s3")]
    s3_secret_file: Option<PathBuf>,
    /// Region of the bucket; us-east-1 when not said.
    #[arg(long, value_name = "REGION", requires = "s3")]
    s3_region: Option<String>,
    /// Certificates of the CA its certificate comes from (PEM); the machine's when not said.
    #[arg(long, value_name = "FILE", requires = "s3")]
    s3_ca: Option<PathBuf>,
}

impl Home {
    fn parts(self) -> (DatabaseConfig, ObjectsConfig) {
        let database = DatabaseConfig {
            postgres: self.postgres,
            password_file: self.password_file,
        };
        let objects = ObjectsConfig {
            s3: self.s3,
            region: self.s3_region,
            access_key: self.s3_access_key,
            secret_file: self.s3_secret_file,
            ca_file: self.s3_ca,
        };
        (database, objects)
    }
}

impl Operate {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Config { data, json } => {
                let (settings, faults) = config::effective(&Layout::new(&data))?;
                let mut text = String::new();
                for Setting {
                    setting,
                    value,
                    from,
                } in &settings
                {
                    text.push_str(&format!("{setting} = {value}  # {from}\n"));
                }
                print(json, &settings, &text)?;
                for fault in &faults {
                    eprintln!("furoshiki-site: {fault}");
                }
                if !faults.is_empty() {
                    return Ok(ExitCode::FAILURE);
                }
            }
            Self::Check { data, quick, json } => {
                let report = operate::check(&data, quick, show(json)).await?;
                let text = report.to_string();
                print(json, &report, &text)?;
                if !report.faults.is_empty() {
                    return Ok(ExitCode::FAILURE);
                }
            }
            Self::Gc {
                data,
                grace_hours,
                dry_run,
                json,
            } => {
                let grace = Duration::from_secs(u64::from(grace_hours) * 3600);
                let done = operate::collect(&data, grace, dry_run).await?;
                let text = format!(
                    "{}: {} snapshots, {} objects ({} bytes), {} uploads without a row ({} bytes)\n",
                    if dry_run { "would delete" } else { "deleted" },
                    done.records,
                    done.objects,
                    done.object_bytes,
                    done.uploads,
                    done.upload_bytes
                );
                print(json, &done, &text)?;
            }
            Self::Backup {
                folder,
                data,
                verify,
                json,
            } => {
                let done = operate::backup(&data, &folder, verify, show(json)).await?;
                let secrets: Vec<_> = done
                    .secrets
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                let text = format!(
                    "site {}: {} rows, {} objects ({} bytes); {} bytes copied, {} old files deleted\n\
                     {} holds secrets of the site ({}), readable by its owner alone: keep it as safe as the site\n",
                    done.site,
                    done.rows,
                    done.objects,
                    done.object_bytes,
                    done.copied_bytes,
                    done.dropped,
                    folder.display(),
                    secrets.join(", ")
                );
                print(json, &done, &text)?;
            }
            Self::RestoreBackup {
                folder,
                data,
                home,
                json,
            } => {
                let (database, objects) = home.parts();
                let done = operate::restore_backup(&folder, &data, &database, &objects, show(json))
                    .await?;
                let text = format!(
                    "site {} ({}): {} rows, {} objects ({} bytes)\n",
                    done.site, done.name, done.rows, done.objects, done.object_bytes
                );
                print(json, &done, &text)?;
            }
            Self::MigrateStore { data, home, json } => {
                let (database, objects) = home.parts();
                let done = operate::migrate(&data, database, objects, show(json)).await?;
                let text = format!(
                    "moved: {} rows, {} objects ({} bytes, {} copied now)\n",
                    done.rows, done.objects, done.object_bytes, done.copied_bytes
                );
                print(json, &done, &text)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

const fn show(json: bool) -> Show {
    if json { Show::Nothing } else { Show::Auto }
}

fn print(json: bool, what: &impl Serialize, text: &str) -> anyhow::Result<()> {
    if json {
        let json = serde_json::to_string_pretty(what).context("write JSON")?;
        println!("{json}");
    } else {
        print!("{text}");
    }
    Ok(())
}
