//! Boot media: images and sticks.

use std::{path::Path, process::ExitCode};

use anyhow::Context as _;
use builder::{
    medium,
    progress::Progress,
    stick::{self, StickError, candidates::Kernel},
};

use super::arguments::{MediaCommand, UsbArgs};

pub(super) fn run(command: MediaCommand, progress: &Progress) -> anyhow::Result<ExitCode> {
    match command {
        MediaCommand::Usb(args) => match args.device {
            None => list_sticks(&args, progress)?,
            Some(ref device) => write_stick(device, &args, progress)?,
        },
        MediaCommand::Site { image, sites } => {
            medium::site::set(&image, &sites)?;
            let shown = image.display();
            progress.result(
                &format!("{shown} names {}", sites.join(", ")),
                &serde_json::json!({ "image": shown.to_string(), "sites": sites }),
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list_sticks(args: &UsbArgs, progress: &Progress) -> anyhow::Result<()> {
    let bytes = stick::image_bytes(&args.image)?;
    let candidates = Kernel::default().candidates(bytes, args.force_fixed)?;
    let mut text = String::new();
    for stick in &candidates {
        let size = indicatif::HumanBytes(stick.bytes).to_string();
        let refused = stick.refused.as_ref();
        let state =
            refused.map_or_else(|| "may be written".into(), |why| format!("refused: {why}"));
        text += &format!("{:10} {size:>12}  {:28} {state}\n", stick.name, stick.model);
    }
    if candidates.is_empty() {
        text = "no disk that could be a stick\n".into();
    }
    progress.result(
        text.trim_end(),
        &serde_json::json!({ "candidates": candidates }),
    );
    Ok(())
}

fn write_stick(device: &Path, args: &UsbArgs, progress: &Progress) -> anyhow::Result<()> {
    let image = stick::read_image(&args.image, &args.sites)?;
    let node = device
        .canonicalize()
        .with_context(|| format!("look at {}", device.display()))?;
    let name = node.file_name().unwrap_or_default().to_string_lossy();
    let bytes = image.len() as u64;
    let stick = Kernel::default().candidate(name.into(), bytes, args.force_fixed);
    if let Some(why) = stick.refused {
        return Err(StickError::Refused { device: node, why }.into());
    }
    let size = indicatif::HumanBytes(stick.bytes);
    eprintln!(
        "Everything on {} ({} {size}) will be lost. Type {} to go on:",
        node.display(),
        stick.model,
        stick.name
    );
    let mut typed = String::new();
    std::io::stdin()
        .read_line(&mut typed)
        .context("read the answer")?;
    if typed.trim() != stick.name {
        return Err(StickError::NotAgreed { device: node }.into());
    }
    stick::write(&image, &node, progress)?;
    progress.result(
        &format!("{} boots; it was written and read back", node.display()),
        &serde_json::json!({ "device": node, "bytes": bytes }),
    );
    Ok(())
}
