/** A target with paths: the path of each request selects the target that serves it. */
import { PathRules } from "../domain/path_rules.ts";
import type { PathTarget } from "../domain/target.ts";
import { pathOf } from "../http1/request_target.ts";
import { StreamError } from "../protocol/errors.ts";
import type { Stream } from "../protocol/stream.ts";
import { type ChoosingContext, serve, type ServeContext } from "./serve.ts";
import { requestFailed, type Target, type TargetHost } from "./target.ts";

/** Serves streams with the targets that existed when it was created. */
export class PathChoice {
  readonly config: PathTarget;
  readonly #serving: ChoosingContext;

  /** @param targets All dialled ones, by name; those that the paths lead to are among them. */
  constructor(config: PathTarget, targets: ReadonlyMap<string, Target>, host: TargetHost) {
    this.config = config;
    const { name, paths } = config;
    const servingOf = (target: string): ServeContext => {
      const { serving, config: { host: address } } = targets.get(target)!;
      // A relay that writes a target into Host writes the name that it requests.
      return { ...serving, hosts: { name, address } };
    };
    const rules = new PathRules<ServeContext | null>(
      paths.map((path) => [path, path.target === undefined ? null : servingOf(path.target)]),
    );
    this.#serving = {
      limits: host.head,
      failed: (error, request) => {
        if (error.code === "path_not_served") host.pathNotServed(name, request);
        else requestFailed(host, name, error, request);
      },
      choose: ({ target }) => {
        const found = rules.find(pathOf(target));
        if (found) return found;
        throw new StreamError("path_not_served", "No path of the target matches");
      },
    };
  }

  /** Serves a request. */
  serve(stream: Stream): void {
    serve(stream, this.#serving);
  }
}
