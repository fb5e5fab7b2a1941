/** What a request asks for where a policy has rules about methods and paths, and what hides it. */
import { requestedUpgrade } from "../../http1/fields.ts";
import type { Field, RequestHead } from "../../http1/head.ts";
import { methodOverride, pathOverride } from "../../http1/overrides.ts";
import { type Asked, AskedRequest } from "../../policies/asked.ts";
import type { Policy } from "../../policies/policy.ts";
import { Denial } from "../callers/caller.ts";
import { ambiguousPath, overrideRefused } from "../caller_errors.ts";
import { withoutQuery } from "../route.ts";

/**
 * What a request asks for.
 *
 * @param path For the target, with its query. Where the request target is a URL there is none: what is
 *   forwarded is not what was sent.
 */
export function askedBy(
  head: Pick<RequestHead, "method" | "target" | "minor" | "fields">,
  path: string,
): AskedRequest {
  const isPath = head.target.startsWith("/") || head.target === "*";
  const isUpgrade = requestedUpgrade(head) !== undefined;
  return new AskedRequest(head.method, isPath ? withoutQuery(path) : undefined, isUpgrade);
}

/** Why a policy can't tell what a target would make of a request, or nothing. */
export function refuseUnclear(
  { hasMethods, hasPaths }: Pick<Policy, "hasMethods" | "hasPaths">,
  asked: Asked,
  fields: readonly Field[],
): Denial | undefined {
  if (typeof asked === "string") return undefined;
  if (hasPaths && asked.clearPath === undefined) return unclearPath;
  const override = (hasMethods ? methodOverride(fields) : undefined) ??
    (hasPaths ? pathOverride(fields) : undefined);
  return override === undefined
    ? undefined
    : new Denial("unclear_request", overrideRefused(override), override);
}

const unclearPath = new Denial("unclear_request", ambiguousPath, "path");
