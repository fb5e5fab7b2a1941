/** Which requests may be sent a second time after a target may have got the first. */
import type { Framing } from "./body.ts";
import { requestedUpgrade } from "./fields.ts";
import type { RequestHead } from "./head.ts";
import { isSafeMethod } from "./methods.ts";

/**
 * Whether a request may be sent again though a target may have got it. The relay asks when a session
 * or another relay is lost, the agent when its target closes a kept connection: both must say the same.
 *
 * | request                          | again | why                                                   |
 * | -------------------------------- | ----- | ----------------------------------------------------- |
 * | safe method, no body, no upgrade | yes   | asks for no change (RFC 9110 section 9.2.1)           |
 * | upgrade, whatever the method     | no    | a GET that may start something, as exec does          |
 * | with a body, empty chunked too   | no    | there is no copy of what was sent                     |
 * | any other method                 | no    | PUT and DELETE are idempotent to their target alone   |
 */
export function isRepeatable(head: RequestHead, framing: Framing): boolean {
  return framing.kind === "none" && isSafeMethod(head.method) &&
    requestedUpgrade(head) === undefined;
}
