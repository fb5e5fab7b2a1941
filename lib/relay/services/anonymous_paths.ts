/** Paths of a service that anybody may use. */
import { isAmbiguousPath, listsPath } from "../../domain/paths.ts";
import type { Field } from "../../http1/head.ts";
import { pathOverride } from "../../http1/overrides.ts";
import type { Service } from "../../domain/service.ts";
import { withoutQuery } from "../route.ts";

/**
 * Whether a request is for a path that anybody may use. The target gets it as it was sent, and one that
 * it might take for another is not let in.
 *
 * @param target Path and query.
 */
export function isAnonymous(
  { anonymousPaths }: Service,
  target: string,
  fields: readonly Field[],
): boolean {
  if (!anonymousPaths || anonymousPaths.length === 0) return false;
  const path = withoutQuery(target);
  return listsPath(anonymousPaths, path) && !isAmbiguousPath(path) &&
    pathOverride(fields) === undefined;
}
