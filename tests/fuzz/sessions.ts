/** Sessions of both roles and both versions, under any order of events. */
import { endsCleanly, keepsToCredit } from "../protocol/session_orders.ts";
import type { FuzzTarget } from "./target.ts";

/** The sessions' targets. */
export const sessionTargets: readonly FuzzTarget[] = [
  {
    name: "sessions",
    claim: "any order of events ends every stream once, tells its owner so, and leaves nothing",
    property: endsCleanly,
  },
  {
    name: "session-credit",
    claim: "no stream sends more than the credit that came",
    property: keepsToCredit,
  },
];
