//! Which cloud this is, by what its firmware says; the same words that cloud-init's ds-identify goes by.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Octets of one of the firmware's words.
const MAX_WORD: u64 = 256;

/// A cloud with a metadata service that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    /// Amazon's.
    Ec2,
    /// Google's.
    Gcp,
    /// Microsoft's.
    Azure,
    /// Any that runs Nova.
    OpenStack,
    /// Hetzner's.
    Hetzner,
    /// DigitalOcean's.
    DigitalOcean,
}

impl Cloud {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Ec2, Self::Gcp, Self::Azure, Self::OpenStack, Self::Hetzner, Self::DigitalOcean];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "EC2",
            Self::Gcp => "GCP",
            Self::Azure => "Azure",
            Self::OpenStack => "OpenStack",
            Self::Hetzner => "Hetzner",
            Self::DigitalOcean => "DigitalOcean",
        }
    }

    /// Whether machines get an address without DHCP, so that the service is asked from one of RFC 3927.
    pub fn needs_link_local(self) -> bool {
        self == Self::DigitalOcean
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the firmware says of the machine (SMBIOS, by way of `/sys/class/dmi/id`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dmi {
    /// `sys_vendor`
    pub sys_vendor: String,
    /// `product_name`
    pub product_name: String,
    /// `product_serial`
    pub product_serial: String,
    /// `product_uuid`
    pub product_uuid: String,
    /// `chassis_asset_tag`
    pub chassis_asset_tag: String,
    /// `/sys/hypervisor/uuid`, which Xen has.
    pub hypervisor_uuid: String,
}

impl Dmi {
    /// Reads it; what cannot be read is empty.
    pub fn read(root: &Path) -> Self {
        let word = |path: &str| {
            let mut bytes = Vec::new();
            let read =
                File::open(root.join(path)).and_then(|file| file.take(MAX_WORD).read_to_end(&mut bytes));
            read.map(|_| String::from_utf8_lossy(&bytes).trim().to_owned()).unwrap_or_default()
        };
        Self {
            sys_vendor: word("sys/class/dmi/id/sys_vendor"),
            product_name: word("sys/class/dmi/id/product_name"),
            product_serial: word("sys/class/dmi/id/product_serial"),
            product_uuid: word("sys/class/dmi/id/product_uuid"),
            chassis_asset_tag: word("sys/class/dmi/id/chassis_asset_tag"),
            hypervisor_uuid: word("sys/hypervisor/uuid"),
        }
    }

    /// The cloud, if it is one that is asked.
    pub fn cloud(&self) -> Option<Cloud> {
        /// In the chassis' asset tag of every machine of Azure.
        const AZURE: &str = "7783-7084-3265-9085-8269-3286-77";
        const NOVA: [&str; 2] = ["OpenStack Nova", "OpenStack Compute"];
        const TAGS_OF_OPENSTACK: [&str; 5] =
            ["OpenTelekomCloud", "SAP CCloud VM", "HUAWEICLOUD", "OpenStack Nova", "OpenStack Compute"];
        let starts = |text: &str| text.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("ec2"));
        let is_ec2 = self.sys_vendor == "Amazon EC2"
            || starts(&self.hypervisor_uuid)
            || starts(&self.product_uuid) && self.product_uuid.eq_ignore_ascii_case(&self.product_serial);
        if self.chassis_asset_tag == AZURE {
            Some(Cloud::Azure)
        } else if self.product_name == "Google Compute Engine"
            || self.product_serial.starts_with("GoogleCloud-")
        {
            Some(Cloud::Gcp)
        } else if self.sys_vendor == "Hetzner" {
            Some(Cloud::Hetzner)
        } else if self.sys_vendor == "DigitalOcean" {
            Some(Cloud::DigitalOcean)
        } else if is_ec2 {
            Some(Cloud::Ec2)
        } else if NOVA.contains(&self.product_name.as_str())
            || TAGS_OF_OPENSTACK.contains(&self.chassis_asset_tag.as_str())
        {
            Some(Cloud::OpenStack)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five words in the order of [`Dmi`]'s fields.
    fn cloud(words: [&str; 6]) -> Option<Cloud> {
        let [sys_vendor, product_name, product_serial, product_uuid, chassis_asset_tag, hypervisor_uuid] =
            words.map(str::to_owned);
        Dmi { sys_vendor, product_name, product_serial, product_uuid, chassis_asset_tag, hypervisor_uuid }
            .cloud()
    }

    #[test]
    fn each_cloud_is_known_by_its_firmware() {
        let uuid = "ec2e1916-9099-7caf-fd21-012345abcdef";
        for (words, known) in [
            (["Amazon EC2", "m6i.large", "", "", "", ""], Some(Cloud::Ec2)),
            (["Xen", "HVM domU", "", "", "", uuid], Some(Cloud::Ec2)),
            (["Xen", "HVM domU", uuid, "EC2E1916-9099-7CAF-FD21-012345ABCDEF", "", ""], Some(Cloud::Ec2)),
            (["Xen", "HVM domU", "other", uuid, "", ""], None),
            (["Google", "Google Compute Engine", "", "", "", ""], Some(Cloud::Gcp)),
            (["Google", "Google", "GoogleCloud-0123", "", "", ""], Some(Cloud::Gcp)),
            (
                ["Microsoft Corporation", "Virtual Machine", "", "", "7783-7084-3265-9085-8269-3286-77", ""],
                Some(Cloud::Azure),
            ),
            (["Microsoft Corporation", "Virtual Machine", "", "", "0000", ""], None),
            (["OpenStack Foundation", "OpenStack Nova", "", "", "", ""], Some(Cloud::OpenStack)),
            (["RDO", "OpenStack Compute", "", "", "", ""], Some(Cloud::OpenStack)),
            (["Xen", "HVM", "", "", "OpenTelekomCloud", ""], Some(Cloud::OpenStack)),
            (["Hetzner", "vServer", "123", "", "", ""], Some(Cloud::Hetzner)),
            (["DigitalOcean", "Droplet", "123", "", "", ""], Some(Cloud::DigitalOcean)),
            (["QEMU", "Standard PC (Q35 + ICH9, 2009)", "", "", "", ""], None),
            (["", "", "", "", "", ""], None),
        ] {
            assert_eq!(cloud(words), known, "{words:?}");
        }
    }

    #[test]
    fn a_machine_without_firmware_tables_is_none() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Dmi::read(root.path()), Dmi::default());
        let folder = root.path().join("sys/class/dmi/id");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("sys_vendor"), "Hetzner\n").unwrap();
        assert_eq!(Dmi::read(root.path()).cloud(), Some(Cloud::Hetzner));
    }
}
