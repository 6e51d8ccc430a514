export { transaction } from "./_topology.ts";
