//! Commands → calls of the library, and what is printed of their outcome.

use std::{
    io::{self, BufRead as _, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use site_server::{
    admin,
    boot::BootChoice,
    init, netboot, serve,
    store::{DatabaseConfig, ObjectsConfig},
};
use zeroize::Zeroizing;

use crate::{
    arguments::{Audit, Command, Lease, Netboot, Release, Site, User, Wipes},
    ca, desk,
};

pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        match command {
            Command::Init {
                data,
                name,
                url,
                also_names,
                ca,
                release_key,
                postgres,
                password_file,
                s3,
                s3_access_key,
                s3_secret_file,
                s3_region,
                s3_ca,
            } => {
                let calibrated = data.clone();
                let made = init::init(&init::Init {
                    data,
                    name,
                    url,
                    also_names,
                    ca,
                    release_key,
                    database: DatabaseConfig {
                        postgres,
                        password_file,
                    },
                    objects: ObjectsConfig {
                        s3,
                        region: s3_region,
                        access_key: s3_access_key,
                        secret_file: s3_secret_file,
                        ca_file: s3_ca,
                    },
                })
                .await?;
                admin::calibrate(&calibrated)?;
                println!("site {} ({}) at {}", made.site, made.name, made.url);
            }
            Command::Serve {
                data,
                listen,
                boot_listen,
                plain_listen,
                announce,
            } => {
                let unknown = site_server::config::unknown();
                anyhow::ensure!(unknown.is_empty(), "{}", unknown.join("; "));
                let (sockets, mut listen) =
                    serve::Sockets::handed_over(listen, boot_listen, announce)?;
                listen.plain = plain_listen;
                serve::serve(&data, listen, sockets, |running| {
                    let mut said = format!("listening https://{}\n", running.address);
                    if let Some(boot) = running.boot {
                        said.push_str(&format!("boot files http://{boot}/boot/\n"));
                    }
                    if let Some(plain) = running.plain {
                        said.push_str(&format!("for a balancer http://{plain}\n"));
                    }
                    // Whoever started this may have stopped listening; the site goes on.
                    let _ = io::stdout().write_all(said.as_bytes());
                })
                .await?;
            }
            Command::Release(Release::Boot {
                release,
                name,
                data,
            }) => {
                let booted = admin::set_boot(&data, BootChoice { release, name }).await?;
                match booted {
                    Some(info) => println!("PCs boot {} ({})", info.release, info.name),
                    None => println!("no release is listed yet; PCs boot the first one published"),
                }
            }
            Command::Release(Release::List { data }) => {
                let (listed, booted) = admin::releases(&data).await?;
                for info in listed {
                    let mark = if booted == Some(info.release) {
                        '*'
                    } else {
                        ' '
                    };
                    println!(
                        "{mark} {} {} {}",
                        info.release, info.build_timestamp, info.name
                    );
                }
            }
            Command::Netboot(Netboot::Setup {
                data,
                interface,
                boot,
                folder,
                dhcp_range,
                ipxe,
                run,
            }) => {
                let setup = netboot::Setup {
                    data,
                    folder,
                    interface,
                    boot,
                    dhcp_range,
                    ipxe,
                };
                setup.write()?;
                let settings = setup.settings();
                if run {
                    setup.run()?;
                }
                println!("wrote {}", settings.display());
                println!(
                    "start it: dnsmasq --keep-in-foreground --conf-file={}",
                    settings.display()
                );
                println!("and serve the site with: --boot-listen {boot} --announce");
            }
            Command::User(User::Add { name, data, card }) => {
                let password = password()?;
                let added = admin::user_add(&data, &name, &card, &password).await?;
                println!(
                    "user {} ({}) version {}",
                    added.user, added.name, added.version
                );
            }
            Command::User(User::Registration { name, data }) => {
                let registration = admin::user_registration(&data, &name).await?;
                println!("{}", serde_json::to_string_pretty(&registration)?);
            }
            Command::User(User::Remove { name, data }) => {
                let removed = admin::user_remove(&data, &name).await?;
                println!(
                    "user {} ({}) deleted, version {}",
                    removed.user, removed.name, removed.version
                );
            }
            Command::Site(Site::Add {
                data,
                id,
                name,
                url,
            }) => {
                admin::site_add(&data, id, &name, &url).await?;
                println!("site {id} ({name}) at {url}");
            }
            Command::Join(told) => ca::join(told).await?,
            Command::Ca(told) => ca::run(told).await?,
            Command::Site(Site::Invite(told)) => ca::invite(told).await?,
            Command::Site(Site::Expel { data, id }) => {
                admin::site_expel(&data, id).await?;
                println!("site {id} is expelled, here now and at every other site as soon as it is reached");
            }
            Command::Site(Site::Info { data, json }) => {
                let info = admin::site_info(&data).await?;
                if json {
                    println!(
                        "{}",
                        serde_json::to_string_pretty(&info).context("write JSON")?
                    );
                } else {
                    print!("{info}");
                }
            }
            Command::Wipes(Wipes::List { data, json }) => {
                print!("{}", admin::wipes(&data, json).await?);
            }
            Command::Lease(Lease::List { name, data }) => {
                for lease in admin::leases(&data, &name).await? {
                    let took = if lease.took_over { " took over" } else { "" };
                    println!("{} at site {}, fence {}{took}", lease.pc, lease.site, lease.fence);
                }
            }
            Command::Lease(Lease::Release { name, pc, data }) => {
                let released = admin::lease_release(&data, &name, pc.as_deref()).await?;
                for pc in &released {
                    println!("the session at {pc} is over");
                }
                if released.is_empty() {
                    println!("no such session is alive at this site");
                }
            }
            Command::User(User::More(command)) => desk::user(command).await?,
            Command::Staff(command) => desk::staff(command).await?,
            Command::Pc(command) => desk::pc(command).await?,
            Command::Policy(command) => desk::policy(command).await?,
            Command::Release(Release::Withdraw { release, data }) => {
                let fields = [("release".to_owned(), release.to_string())].into();
                admin::wish(&data, admin::WishKind::WithdrawRelease, &fields).await?;
                println!("{release} is listed no more");
            }
            Command::Audit(Audit::Export { data }) => {
                admin::audit_export(&data, io::stdout().lock()).await?;
            }
            Command::Audit(Audit::Verify { data, file, anchor }) => {
                let end = match (data, file) {
                    (Some(data), _) => admin::audit_verify(&data, anchor).await?,
                    (None, Some(file)) => admin::audit_verify_file(&file, anchor)?,
                    (None, None) => anyhow::bail!("give --data or --file"),
                };
                println!("{} rows, each as it was written; anchor {end}", end.seq);
            }
            Command::Calibrate { data } => {
                let cost = admin::calibrate(&data)?;
                println!(
                    "a password hash takes {} MiB and {} passes",
                    cost.memory_kib >> 10,
                    cost.passes
                );
            }
            Command::Operate(operate) => return operate.run().await,
            Command::ReleaseKey { file, data } => {
                admin::set_release_key(&data, &file)?;
                println!("releases must be signed with the key in {}", file.display());
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) fn password() -> anyhow::Result<Zeroizing<String>> {
    line("the password")
}

/// One line of standard input, never an argument: other users of the machine see arguments.
pub(super) fn line(what: &str) -> anyhow::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::with_capacity(512));
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .with_context(|| format!("read {what} from standard input"))?;
    let text = line.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(
        !text.is_empty(),
        "{what} did not come on standard input; give it as one line"
    );
    Ok(Zeroizing::new(text.to_owned()))
}
