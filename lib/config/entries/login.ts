/** The key `login` of the services files: where people sign in, and for how long. */
import { z } from "zod";
import type { Login } from "../../domain/login.ts";
import { hostname } from "./hostnames.ts";
import { entryOf } from "./json_entries.ts";
import { policyName } from "./policies.ts";

const LOGIN_EXPECTED = "must be an object with host";
const HOST_EXPECTED = 'must be one hostname, without "*."';
const HOURS_EXPECTED = "must be a number of hours, more than 0 and at most 720";
const MINUTES_EXPECTED = "must be a number of minutes, more than 0 and at most 43200";

/** @see Login */
export const loginSchema: z.ZodType<Login> = entryOf({
  host: hostname.refine(({ name }) => !name.startsWith("*"), HOST_EXPECTED),
  provider: policyName.exactOptional(),
  sessionHours: z.number(HOURS_EXPECTED).gt(0, HOURS_EXPECTED).max(720, HOURS_EXPECTED).default(12),
  idleMinutes: z.number(MINUTES_EXPECTED).gt(0, MINUTES_EXPECTED).max(43_200, MINUTES_EXPECTED)
    .default(60),
  statusPolicy: policyName.exactOptional(),
  deviceFlow: z.boolean("must be true or false").exactOptional(),
}, LOGIN_EXPECTED).transform(({ sessionHours, idleMinutes, ...rest }) => ({
  ...rest,
  sessionMs: Math.round(sessionHours * 3_600_000),
  idleMs: Math.round(idleMinutes * 60_000),
}));
