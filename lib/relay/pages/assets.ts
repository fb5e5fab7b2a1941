/** The files that the relay's own pages load, on every host that has such pages. */
import { iconPath, iconSvg } from "./icon.tsx";
import { script, scriptPath } from "./status/script.ts";
import { stylePath, styleSheet } from "./style.ts";

interface Asset {
  readonly type: string;
  readonly text: string;
}

const assets: ReadonlyMap<string, Asset> = new Map([
  [stylePath, { type: "text/css; charset=utf-8", text: styleSheet }],
  [iconPath, { type: "image/svg+xml", text: iconSvg }],
  [scriptPath, { type: "text/javascript; charset=utf-8", text: script }],
]);

/** Paths of what all pages load, and of what the status page loads besides. */
export const assetPaths: readonly string[] = [stylePath, iconPath];
export const statusAssetPaths: readonly string[] = [...assetPaths, scriptPath];

/** How long browsers may cache these files, in seconds: another release has others. */
const keptSeconds = 300;

/** Answers with the file at one of {@link statusAssetPaths}. */
export function assetResponse(path: string): Response {
  const { type, text } = assets.get(path)!;
  return new Response(text, {
    headers: {
      "Content-Type": type,
      "Cache-Control": `public, max-age=${keptSeconds}`,
      "X-Content-Type-Options": "nosniff",
    },
  });
}
