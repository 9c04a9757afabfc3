//! dnsmasq's settings, with what each is for (dnsmasq(8)).

use std::net::{Ipv4Addr, SocketAddrV4};

use site_api::discovery::DHCP_OPTION;

use super::{BIOS, UEFI};

/// What the settings are made of; every text was checked to stay one value.
pub(super) struct Wanted<'a> {
    pub(super) interface: &'a str,
    pub(super) boot: SocketAddrV4,
    pub(super) dhcp_range: Option<(Ipv4Addr, Ipv4Addr)>,
    pub(super) tftp: String,
    pub(super) leases: String,
    pub(super) site: &'a str,
}

/// Address of a file of the boot service.
fn url(boot: SocketAddrV4, file: &str) -> String {
    if boot.port() == 80 {
        format!("http://{}/boot/{file}", boot.ip())
    } else {
        format!("http://{boot}/boot/{file}")
    }
}

/// Address of the iPXE script.
pub(super) fn script_url(boot: SocketAddrV4) -> String {
    url(boot, "boot.ipxe")
}

/// The whole file.
pub(super) fn settings(wanted: &Wanted<'_>) -> String {
    let Wanted {
        interface,
        boot,
        tftp,
        leases,
        site,
        ..
    } = wanted;
    let (script, uki) = (script_url(*boot), url(*boot, "furoshiki.efi"));
    let addresses = match wanted.dhcp_range {
        None => format!(
            "# The network's own DHCP server gives addresses; this one only says what to boot (proxy DHCP).\n\
             dhcp-range={},proxy\n\
             # UEFI HTTP boot asks as HTTPClient; without this line a proxy answers PXEClient only.\n\
             dhcp-pxe-vendor=PXEClient,HTTPClient\n\
             # PCs find the site by DNS-SD (serve --announce), or by this option of the network's own server:\n\
             #   {DHCP_OPTION} = {site}\n",
            boot.ip()
        ),
        Some((first, last)) => format!(
            "# No other DHCP server may be on this network.\n\
             dhcp-range={first},{last},1h\n\
             dhcp-authoritative\n\
             dhcp-leasefile={leases}\n\
             # Where the site is, for PCs whose command line does not say.\n\
             dhcp-option={DHCP_OPTION},\"{site}\"\n\
             # UEFI HTTP boot takes an answer only from a server that calls itself HTTPClient too.\n\
             dhcp-option-force=tag:http,60,HTTPClient\n"
        ),
    };
    format!(
        "# Written by furoshiki-site netboot setup; written again by the next one.\n\
         # No names are served, only addresses and files.\n\
         port=0\n\
         # It runs in the foreground; another dnsmasq of this machine keeps its own file.\n\
         pid-file=\n\
         interface={interface}\n\
         bind-dynamic\n\
         log-dhcp\n\
         log-facility=-\n\
         \n\
         {addresses}\
         \n\
         # Who asks: iPXE (option 175 is its own), firmware for HTTP boot, or plain PXE.\n\
         dhcp-match=set:ipxe,175\n\
         dhcp-vendorclass=set:http,HTTPClient\n\
         \n\
         # UEFI HTTP boot: the firmware fetches and starts the unified kernel image by itself.\n\
         dhcp-boot=tag:http,{uki}\n\
         # PXE: iPXE by TFTP, which comes back as iPXE and runs the boot service's script. It heeds a proxy's answer\n\
         # only if that names a next server too.\n\
         dhcp-boot=tag:ipxe,{script},,{}\n\
         pxe-service=tag:!ipxe,X86PC,\"Furoshiki\",{BIOS}\n\
         pxe-service=tag:!ipxe,BC_EFI,\"Furoshiki\",{UEFI}\n\
         pxe-service=tag:!ipxe,X86-64_EFI,\"Furoshiki\",{UEFI}\n\
         enable-tftp\n\
         tftp-root={tftp}\n",
        boot.ip()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(port: u16, dhcp_range: Option<(Ipv4Addr, Ipv4Addr)>) -> String {
        settings(&Wanted {
            interface: "eth0",
            boot: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), port),
            dhcp_range,
            tftp: "/srv/tftp".into(),
            leases: "/srv/leases".into(),
            site: "https://site.example:8443",
        })
    }

    #[test]
    fn beside_another_server_no_address_is_given() {
        let text = text(80, None);
        let ranges: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("dhcp-range"))
            .collect();
        assert_eq!(ranges, ["dhcp-range=10.0.0.1,proxy"]);
        assert!(!text.contains("\ndhcp-authoritative"), "{text}");
        assert!(
            text.contains("tag:http,http://10.0.0.1/boot/furoshiki.efi\n"),
            "{text}"
        );
    }

    #[test]
    fn alone_it_gives_addresses_and_the_site() {
        let range = (Ipv4Addr::new(10, 0, 0, 100), Ipv4Addr::new(10, 0, 0, 199));
        let text = text(8080, Some(range));
        assert!(text.contains("\ndhcp-range=10.0.0.100,10.0.0.199,1h\n"));
        assert!(text.contains("\ndhcp-option=224,\"https://site.example:8443\"\n"));
        assert!(text.contains("tag:ipxe,http://10.0.0.1:8080/boot/boot.ipxe,,10.0.0.1\n"));
    }
}
