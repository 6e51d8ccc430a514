/** A program that maps pages for a device and then waits until it is killed; lifetime_test.ts does that. */

import { VfioContainer } from "@giommu/vfio-sync";
import { Guest } from "./guest.ts";
import { BACKENDS } from "./vm.ts";

const backend = BACKENDS.find(({ name }) => name === Deno.args[0]);
if (backend === undefined) throw new Error(`Cannot open ${Deno.args[0]}: there is no such host`);
using guest = new Guest();
for (let index = 0n; index < 64n; index++) guest.map(index * 0x1000n, 0x20_0000n + index * 0x1000n);
using host = backend.open();
using container = new VfioContainer({ host });
container.attach(guest.phb.space);
console.log("mapped");
await new Promise((done) => setTimeout(done, 60_000));
