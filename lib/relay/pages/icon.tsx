/** The mark of the relay's own pages: a pipe below a road. */

/** Where it is, on every host. */
export const iconPath = "/.culvert/icon.svg";

const line = {
  fill: "none",
  stroke: "currentColor",
  "stroke-width": 2.5,
  "stroke-linecap": "round",
};

function Shapes() {
  return (
    <>
      <path d="M2 7h28" {...line} />
      <path d="M5 28v-6a11 11 0 0 1 22 0v6" {...line} />
      <path d="M11 28v-6a5 5 0 0 1 10 0v6z" fill="currentColor" />
    </>
  );
}

/** The file for the browser's tab. */
export const iconSvg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<style>svg{color:#0b5cad}@media(prefers-color-scheme:dark){svg{color:#7cb4ff}}</style>
${<Shapes />}</svg>
`;

/** The same within a page, in the color of the text around it. */
export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
      <Shapes />
    </svg>
  );
}
