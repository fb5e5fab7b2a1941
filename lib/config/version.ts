/** The program's version, as `deno.json` has it, so that it is written down once. */
import config from "../../deno.json" with { type: "json" };

/** Version of relay and agent, such as `1.2.3`. */
export const version: string = config.version;
