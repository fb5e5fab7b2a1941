/** What a target is called in the relay's files: as its agent calls it. */
import { z } from "zod";
import { parseTargetAddress } from "../options/address.ts";
import { TARGET_EXPECTED } from "../options/kinds.ts";

const EXPECTED = `${TARGET_EXPECTED}, or the name of one of the agent's targets`;

/** `HOST:PORT`, or a name from the agent's `--targets`. */
export const targetName: z.ZodType<string> = z.string(EXPECTED).refine(
  (text) => /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(text) || parseTargetAddress(text),
  EXPECTED,
);
