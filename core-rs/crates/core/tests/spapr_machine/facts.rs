//! What a machine says of itself, by the names of the recordings' first and last lines.

use serde_json::{Map, Value, json};

use super::{Answer, Machine, hex};

impl Machine {
    /// The windows that are there now.
    pub(crate) fn windows(&self) -> Value {
        let windows = self.iommus.tables().map(|table| {
            let window = table.borrow().geometry();
            let size = u64::from(window.entries) << window.page_shift;
            json!({ "liobn": hex(window.liobn.into()), "bus": hex(window.bus_offset.0), "size": hex(size) })
        });
        Value::Array(windows.collect())
    }

    /// The machine's facts, as far as the core knows them.
    pub(crate) fn facts(&self, recorded: &Value) -> Answer {
        let phbs = self.iommus.phbs().map(|phb| {
            let config = phb.config();
            let liobns: Vec<_> = phb.slots().iter().map(|slot| hex(slot.liobn().into())).collect();
            json!({
                "index": config.index, "buid": hex(phb.buid()), "ddw": config.ddw, "page_size_mask": hex(config.pgsz),
                "dma_win_addr": hex(config.dma_win_addr.0), "dma_win_size": hex(config.dma_win_size),
                "dma64_win_addr": hex(config.dma64_win_addr.0), "liobns": liobns,
            })
        });
        let vios =
            self.iommus.vios().map(|vio| json!({ "unit": hex(vio.unit().into()), "liobn": hex(vio.unit().into()) }));
        let in_fdt = self.iommus.phbs().any(|phb| phb.ibm_ddw_applicable().is_some());
        Answer::from([
            ("windows", self.windows()),
            ("phbs", Value::Array(phbs.collect())),
            ("vio", Value::Array(vios.collect())),
            ("ddw_in_fdt", json!(in_fdt)),
            ("fdt_dma_windows", self.device_tree(recorded)),
        ])
    }

    /// The nodes with windows. What kind of VIO device a unit is decides its node's name, and only the recording knows.
    fn device_tree(&self, recorded: &Value) -> Value {
        let mut nodes = Map::new();
        for phb in self.iommus.phbs() {
            nodes.insert(format!("pci@{:x}", phb.buid()), window(phb.ibm_dma_window()));
        }
        for vio in self.iommus.vios() {
            let unit = format!("@{:x}", vio.unit());
            let named =
                recorded["fdt_dma_windows"].as_object().and_then(|all| all.keys().find(|key| key.ends_with(&unit)));
            nodes.insert(named.cloned().unwrap_or(unit), window(vio.ibm_my_dma_window()));
        }
        Value::Object(nodes)
    }
}

fn window([liobn, high, low, size_high, size_low]: [u32; 5]) -> Value {
    let wide = |high: u32, low: u32| hex(u64::from(high) << 32 | u64::from(low));
    json!({ "liobn": hex(liobn.into()), "bus": wide(high, low), "size": wide(size_high, size_low) })
}
