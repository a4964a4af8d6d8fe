// Functions that the modules of all widgets share; this file comes before them.
// Traits of bytes arrive as DataViews, at any offset.
const typedArray = (Kind, view) => new Kind(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
// A new element in `parent`.
const addElement = (parent, tag, text, properties = {}) =>
  Object.assign(parent.appendChild(document.createElement(tag)), { textContent: text }, properties);
