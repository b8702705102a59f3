export {
  COURSE_CATALOG_INFO_CHANGED,
  type CourseCatalogInfo,
  type CourseCatalogInfoChanged,
} from './content-authoring.js';
